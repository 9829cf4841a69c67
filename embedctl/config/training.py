"""The options of train, a section for each subject, and the values that the built-in model has of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from embedctl.config.base import (
    TINY,
    Command,
    ModelSection,
    PassagePrompt,
    QueryPrompt,
    Range,
    Section,
    Strings,
    expect_positions,
    option,
)
from embedctl.config.losses import LossSection
from embedctl.config.trackers import Tracker

# Random weights learn fast and the data of a first try are few: what makes a minute of two CPU cores count.
TINY_OPTIM: dict[str, Any] = {"lr": 5e-4, "batch_size": 32, "epochs": 2}


class BaseModelSection(ModelSection):
    """The model that training begins with."""

    model_name_or_path: str = option(
        TINY,
        "Model",
        "a sentence-transformers folder, a transformers folder, a hub name, or 'tiny' (built in)",
        "--model",
        "--ckpt",
        "-m",
        min_length=1,
    )


class TextSection(Section):
    """How texts become tokens in training."""

    query_max_len: int = option(128, "Texts", "tokens of a query, special ones counted", ge=4)
    passage_max_len: int = option(512, "Texts", "tokens of a passage", ge=4)
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None


class TuneSection(Section):
    """Which weights are trained and how the model runs meanwhile."""

    pooling: Literal["mean", "cls", "lasttoken"] | None = option(
        None, "Model", "for a plain transformers model; a sentence-transformers one brings its own"
    )
    lora_rank: int = option(0, "Model", "train low-rank adapters of this rank; 0 trains all weights", ge=0)
    lora_alpha: float | None = option(None, "Model", "scale of the adapters; twice the rank by default", gt=0)
    gradient_checkpointing: bool = option(False, "Model", "recompute activations: less memory, a third more time")
    compile: bool = option(False, "Model", "compile the layers (GPU): faster after a slow start")


class DataSection(Section):
    """Rows and how a batch is drawn from them."""

    dataset: Strings = option(
        (), "Data", "files of training rows; FILE:2 visits each row twice an epoch; the example rows by default"
    )
    eval_dataset: Strings = option((), "Data", "rows held out for evaluation")
    neg_nums: int = option(15, "Data", "hard negatives of a query", ge=0)
    positives: Literal["sample", "explode"] = option(
        "sample", "Data", "one positive a visit, all in turn over the epochs (sample), or each its own visit (explode)"
    )
    one_dataset_per_batch: bool = option(False, "Data", "never mix the files within a batch")


class RemineSection(Section):
    """Negatives that a run mines itself."""

    remine_every_epoch: bool = option(
        False, "Negatives", "from the second epoch on, replace the negatives by those that the model as it is now finds"
    )
    remine_range: Range = option("10-210", "Negatives", "ranks from which they are drawn, nearest first")
    remine_margin: float | None = option(None, "Negatives", "their similarity is below the positive's by this")


class OptimSection(Section):
    """Batch, steps and learning rate."""

    batch_size: int = option(32, "Optimisation", "queries of a process and step; any size fits in memory", gt=0)
    gradient_accumulation_steps: int = option(1, "Optimisation", "batches an update", gt=0)
    lr: float = option(2e-5, "Optimisation", "highest learning rate", gt=0)
    epochs: int = option(2, "Optimisation", "times each row is visited", gt=0)
    max_steps: int | None = option(None, "Optimisation", "stop after so many updates; the schedule ends there", gt=0)
    warmup_proportion: float = option(0.1, "Optimisation", "share of the updates in which lr rises", ge=0, le=1)
    lr_scheduler: Literal["linear", "cosine", "constant"] = option(
        "linear", "Optimisation", "how lr falls after the warm-up"
    )
    weight_decay: float = option(0.01, "Optimisation", "AdamW's, not on biases and norms", ge=0)
    max_grad_norm: float = option(1.0, "Optimisation", "gradients are clipped to this norm; 0 clips none", ge=0)
    seed: int = option(42, "Optimisation", "everything random follows from it", ge=0)


class RunSection(Section):
    """Where a run writes, what it measures and how it goes on."""

    output_dir: str = option("out", "Run", "folder of the model, its metrics and its checkpoints", "-o", min_length=1)
    overwrite: bool = option(False, "Run", "replace a finished run in the output folder")
    resume: str | None = option(None, "Run", "go on from a saved state: the newest, or a folder")
    save_on_epoch_end: bool = option(False, "Run", "export the model to OUT/checkpoints/epoch-N")
    save_steps: int | None = option(
        None, "Run", "save the state to resume from every so many updates; each epoch by default", gt=0
    )
    keep: int = option(2, "Run", "states kept", gt=0)
    eval_steps: int | None = option(None, "Run", "evaluate every so many updates; each epoch by default", gt=0)
    metric: str = option("nDCG@10", "Run", "the metric by which the best checkpoint is named")
    early_stopping_patience: int | None = option(
        None, "Run", "stop after so many evaluations without a better one", gt=0
    )
    log_with: Tracker = option("none", "Run", "tracker of the curves")


class LaunchSection(Section):
    """Processes and machines."""

    num_processes: int | None = option(
        None, "Machine", "processes of this run over all machines; one a GPU by default", gt=0
    )
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = option(
        "auto", "Machine", "compute type; auto: bf16 on GPUs that have it"
    )
    strategy: Literal["auto", "fsdp", "ddp"] = option("auto", "Machine", "shard the weights (fsdp) or copy them (ddp)")
    tokens_per_forward: int | None = option(
        None, "Machine", "tokens in one pass through the model; found by a probe on a GPU", gt=0
    )
    attention: Literal["auto", "packed", "padded"] = option(
        "auto", "Machine", "packed: no padding (GPU); padded: any model"
    )
    cpu: bool = option(False, "Machine", "leave the GPUs alone")
    num_machines: int = option(1, "Machine", "machines of this run", gt=0)
    machine_rank: int = option(0, "Machine", "which of them this is", ge=0)
    main_process_ip: str | None = option(None, "Machine", "address of machine 0")
    main_process_port: int = option(0, "Machine", "port of machine 0; 0 takes a free one", ge=0, le=65535)
    dry_run: bool = option(False, "Run", "check everything, print the accelerate command and stop")


class TrainConfig(Command):
    """`embedctl train`."""

    name: ClassVar[str] = "train"

    model: BaseModelSection = BaseModelSection()
    tune: TuneSection = TuneSection()
    text: TextSection = TextSection()
    data: DataSection = DataSection()
    remine: RemineSection = RemineSection()
    loss: LossSection = LossSection()
    optim: OptimSection = OptimSection()
    run: RunSection = RunSection()
    launch: LaunchSection = LaunchSection()

    @classmethod
    def stored(cls, flags: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """A resumed run goes on with its own configuration, in its own folder."""
        wanted = flags.get("resume")
        if wanted is None:
            return None, {}
        named = Path(flags.get("output_dir") or RunSection().output_dir if wanted == "latest" else wanted)
        run = next((folder for folder in (named, *named.parents) if (folder / "config.yaml").is_file()), None)
        return (str(run / "config.yaml"), {"output_dir": str(run)}) if run else (None, {})

    @model_validator(mode="after")
    def _mining_has_ranks_to_draw_from(self) -> TrainConfig:
        if self.remine.remine_every_epoch:
            if self.data.neg_nums == 0:
                raise ValueError("--remine-every-epoch needs --neg-nums above 0")
            if self.optim.epochs == 1 and self.optim.max_steps is None:
                raise ValueError("--remine-every-epoch mines from the second epoch on: raise --epochs")
            expect_positions("--remine-range", self.remine.remine_range, self.data.neg_nums)
        return self

    @model_validator(mode="after")
    def _several_machines_need_an_address(self) -> TrainConfig:
        if self.launch.num_machines > 1 and not (self.launch.main_process_ip and self.launch.main_process_port):
            raise ValueError("--num-machines above 1 needs --main-process-ip and --main-process-port")
        if self.launch.machine_rank >= self.launch.num_machines:
            raise ValueError("--machine-rank counts from 0 and must be below --num-machines")
        return self

    def changed(self, **sections: dict[str, Any]) -> TrainConfig:
        """A copy with other values in the sections named."""
        copies = {name: getattr(self, name).model_copy(update=values) for name, values in sections.items()}
        return self.model_copy(update=copies)


def with_model_defaults(config: TrainConfig) -> TrainConfig:
    """The configuration with the built-in model's own lr, batch size and epochs where the user set none."""
    if config.model.model_name_or_path != TINY:
        return config
    own = {name: value for name, value in TINY_OPTIM.items() if name not in config.optim.model_fields_set}
    return config.changed(optim=own)

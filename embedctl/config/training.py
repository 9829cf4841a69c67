"""Options of train, in one section per topic, and the defaults of the built-in model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from embedctl.config.accelerate_file import ACCELERATE_FILE
from embedctl.config.base import (
    TINY,
    Command,
    ModelSection,
    PassagePrompt,
    QueryPrompt,
    Range,
    Section,
    Strings,
    check_range_size,
    model_option,
    option,
)
from embedctl.config.loading import check_complete
from embedctl.config.losses import LossSection
from embedctl.config.runs import LaunchSection, RunSection, fsdp_options
from embedctl.run_folder import CHECKPOINTS, CONFIG_FILE

# The built-in model has random weights; with these values it improves within a minute on two CPU cores.
TINY_OPTIM: dict[str, Any] = {"lr": 5e-4, "batch_size": 32, "epochs": 2}
LR = f"highest learning rate; if it is not set, the model tiny uses {TINY_OPTIM['lr']}"
REMINE = "Mining during training"  # a heading in `--help`


class TrainModelSection(ModelSection):
    """The model to fine-tune."""

    model_name_or_path: str = model_option(TINY)
    """model to fine-tune: the folder or the Hugging Face Hub name of a sentence-transformers or transformers model;
    tiny is a small built-in model with random weights"""


class TextSection(Section):
    """Prompts and truncation of texts in training."""

    query_max_len: int | None = option(None, "Texts", ge=4)
    """maximum length of a query in tokens, with special tokens; longer queries are truncated (default: the model's own
    maximum length, at most 128)"""
    passage_max_len: int | None = option(None, "Texts", ge=4)
    """maximum length of a passage in tokens, with special tokens; longer passages are truncated (default: the model's
    own maximum length, at most 512)"""
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None


class TuneSection(Section):
    """Which weights are trained, and how the model computes during training."""

    pooling: Literal["mean", "cls", "lasttoken"] | None = option(None, "Model")
    """pooling of token embeddings for a model without its own: their mean, the first (cls) or the last token (default:
    the model's own, else mean)"""
    lora_rank: int = option(0, "Model", ge=0)
    """rank of the LoRA adapters to train; 0 trains all weights"""
    lora_alpha: float | None = option(None, "Model", gt=0, requires=("lora_rank",))
    """scale of the LoRA adapters, lora_alpha in peft (default: twice the rank)"""
    lora_target_modules: Strings = option((), "Model", metavar="NAME", requires=("lora_rank",))
    """names of the layers that get LoRA adapters, or the ends of their names, for example query; for several names,
    repeat the option or use a list in YAML (default: all linear layers)"""
    gradient_checkpointing: bool = option(False, "Model")
    """recompute activations in the backward pass: less memory, about a third more time"""
    compile: bool = option(False, "Model")
    """compile the layers with torch.compile: the first steps are slow, the others faster"""


class DataSection(Section):
    """Training rows, and how batches are drawn from them."""

    dataset: Strings = option((), "Data", metavar="FILE")
    """file of training rows; for several files, repeat the option or use a list in YAML; FILE:2 uses each row twice per
    epoch (default: the shipped example rows)"""
    eval_dataset: Strings = option((), "Data", metavar="FILE")
    """file of rows to evaluate on during training, which should not be in --dataset; for several files, see --dataset
    (default: no evaluation; without --dataset, the shipped evaluation rows)"""
    neg_nums: int = option(15, "Data", ge=0)
    """hard negatives per query; if a row has more, a random choice is used; if it has fewer, some are used
    more than once"""
    positives: Literal["sample", "explode"] = option("sample", "Data")
    """for rows with several positives: sample uses one of them per epoch, in turn; explode uses each of them in every
    epoch"""
    one_dataset_per_batch: bool = option(False, "Data")
    """draw all rows of a batch from the same file"""


class RemineSection(Section):
    """Hard negatives that a run mines with the model that it trains."""

    remine_every_epoch: bool = option(False, REMINE)
    """before every epoch but the first, mine new hard negatives with the current model"""
    remine_range: Range = option("10-210", REMINE, metavar="START-STOP", requires=("remine_every_epoch",))
    """positions in the search results from which these negatives are drawn, from START up to but not including STOP; 0
    is the most similar passage that is neither a known positive nor rejected; if fewer than --neg-nums passages follow
    START, more similar ones are used too"""
    remine_margin: float | None = option(None, REMINE, requires=("remine_every_epoch",))
    """each of these negatives must score below the positive by at least this difference, by the similarity function of
    the model (default: no limit)"""


class OptimSection(Section):
    """Batch size, number of steps, and the optimizer."""

    batch_size: int = option(32, "Training", gt=0)
    """queries per batch and process; a batch that does not fit in memory is computed in chunks"""
    gradient_accumulation_steps: int = option(1, "Training", gt=0)
    """batches per optimizer step"""
    lr: float = option(2e-5, "Training", gt=0, description=LR)
    epochs: int = option(2, "Training", gt=0)
    """number of passes over the training rows"""
    max_steps: int | None = option(None, "Training", gt=0)
    """stop after this number of optimizer steps; the learning-rate schedule ends there too (default: use --epochs)"""
    warmup_proportion: float = option(0.1, "Training", ge=0, le=1)
    """fraction of the optimizer steps in which the learning rate rises to --lr"""
    lr_scheduler: Literal["linear", "cosine", "constant"] = option("linear", "Training")
    """after the warm-up, the learning rate falls to 0 (linear, cosine) or stays (constant)"""
    weight_decay: float = option(0.01, "Training", ge=0)
    """weight decay of AdamW; biases and normalization weights are excluded"""
    max_grad_norm: float = option(1.0, "Training", ge=0)
    """gradients with a larger norm are clipped to it; 0: no clipping"""
    seed: int = option(42, "Training", ge=0)
    """seed of all random choices; runs with the same seed and settings give the same model"""


class TrainConfig(Command):
    """Options of `embedctl train`."""

    name = "train"
    main_options = ("model_name_or_path", "dataset", "eval_dataset", "epochs", "output_dir")
    settings_files = (ACCELERATE_FILE,)

    model: TrainModelSection = TrainModelSection()
    tune: TuneSection = TuneSection()
    text: TextSection = TextSection()
    data: DataSection = DataSection()
    remine: RemineSection = RemineSection()
    loss: LossSection = LossSection()
    optim: OptimSection = OptimSection()
    run: RunSection = RunSection()
    launch: LaunchSection = LaunchSection()

    @classmethod
    def implied_config(cls, flags: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """With --resume: return the stored configuration of the run, and its folder as --output-dir."""
        resume = flags.get("resume")
        if resume is None:
            return None, {}
        run = Path(flags.get("output_dir") or RunSection().output_dir if resume == "latest" else resume)
        if run.absolute().parent.name == CHECKPOINTS:
            run = run.absolute().parent.parent
        file = run / CONFIG_FILE
        if not file.is_file():
            return None, {}
        check_complete(str(file), cls)
        return str(file), {"output_dir": str(run)}

    @model_validator(mode="after")
    def _remining_is_possible(self) -> TrainConfig:
        if self.remine.remine_every_epoch:
            if self.data.neg_nums == 0:
                raise ValueError("--remine-every-epoch requires --neg-nums above 0")
            if self.optim.epochs == 1 and self.optim.max_steps is None:
                raise ValueError("--remine-every-epoch has no effect in the first epoch: use --epochs 2 or more")
            check_range_size("--remine-range", self.remine.remine_range, self.data.neg_nums)
        return self

    @model_validator(mode="after")
    def _weights_are_sharded(self) -> TrainConfig:
        options = fsdp_options(self.launch)
        if options and self.launch.strategy == "ddp":
            raise ValueError(f"{' and '.join(options)} has no effect with --strategy ddp")
        return self

    @model_validator(mode="after")
    def _machines_are_consistent(self) -> TrainConfig:
        if self.launch.num_machines > 1 and not (self.launch.main_process_ip and self.launch.main_process_port):
            raise ValueError("--num-machines above 1 requires --main-process-ip and --main-process-port")
        if self.launch.num_machines == 1 and self.launch.main_process_ip:
            raise ValueError("--main-process-ip requires --num-machines above 1")
        if self.launch.machine_rank >= self.launch.num_machines:
            raise ValueError("--machine-rank counts from 0 and must be below --num-machines")
        if (self.launch.num_processes or 0) % self.launch.num_machines:
            shares = f"--num-processes {self.launch.num_processes} for --num-machines {self.launch.num_machines}"
            raise ValueError(f"{shares}: every machine runs the same number of processes; use a multiple")
        return self

    @model_validator(mode="after")
    def _layers_are_compiled(self) -> TrainConfig:
        if self.tune.compile and self.launch.cpu:
            raise ValueError("--compile has no effect with --cpu: layers are compiled on a GPU only")
        return self

    def with_values(self, **sections: dict[str, Any]) -> TrainConfig:
        """Return a copy in which the given values replace those in each section, e.g. `optim={"lr": 1e-5}`."""
        copies = {name: getattr(self, name).model_copy(update=values) for name, values in sections.items()}
        return self.model_copy(update=copies)

    def with_model_defaults(self) -> TrainConfig:
        """Return the configuration with `TINY_OPTIM` for the built-in model, except for options that the user set."""
        if self.model.model_name_or_path != TINY:
            return self
        values = {name: value for name, value in TINY_OPTIM.items() if name not in self.optim.model_fields_set}
        return self.with_values(optim=values)

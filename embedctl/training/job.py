"""What a training run does: the configuration, resolved once into plain values. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedctl.config import TINY, LossSection, OptimSection, RemineSection, TextSection, TrainConfig, TuneSection
from embedctl.data.sources import Source, parse_all
from embedctl.distributed.launch import LaunchJob

TINY_BYTES = 40 << 20  # of the built-in model's weights


@dataclass(frozen=True)
class TrainJob:
    """What a run does."""

    output: str  # OUT, as it was given
    model: str  # a folder, a hub name, or the built-in model
    trust_remote_code: bool  # whether code that comes with the model may run
    dataset: tuple[str, ...]  # the sources as they were given
    sources: tuple[Source, ...]  # files of rows, and how often an epoch visits each row
    eval_files: tuple[str, ...]  # files of rows to evaluate on
    neg_nums: int  # hard negatives per query
    explode: bool  # whether each positive is its own visit
    one_dataset_per_batch: bool  # whether a batch's rows come from one file
    text: TextSection  # lengths and prompts
    tune: TuneSection  # which weights are trained, and how the model runs meanwhile
    loss: LossSection  # options of the losses
    optim: OptimSection  # batch, steps and learning rate
    remine: RemineSection | None  # how negatives are mined in the run; None where they are not
    eval_steps: int | None  # optimizer steps between evaluations; None for every epoch
    save_steps: int | None  # optimizer steps between checkpoints; None for every epoch
    keep: int  # checkpoints kept
    patience: int | None  # evaluations without a better one after which the run ends; None for no limit
    metric: str  # by which the best evaluation is chosen
    keep_epochs: bool  # whether the model of each epoch is exported
    resume: str | None  # latest, a folder, or None for a run from the start
    tracker: str  # a name of `config.trackers.TRACKERS`
    strategy: str  # auto, ddp or fsdp
    weight_bytes: int | None  # size of the model's weights, None if it is not known here
    precision: str  # auto, no, bf16 or fp16
    attention: str  # auto, packed or padded
    tokens_per_forward: int | None  # tokens in one pass through the model; None to find them by a probe
    cpu: bool  # whether the GPUs are left alone
    json_output: bool  # whether one JSON document is printed at the end
    quiet: bool  # whether only results and errors are printed
    settings: dict[str, Any]  # the configuration, for trackers

    @classmethod
    def of(cls, config: TrainConfig) -> TrainJob:
        """The job that a configuration describes.

        Raises:
            ConfigError: a weight of --dataset is not above 0.
            DataError: a file of --dataset is missing.
        """
        data, run, launch = config.data, config.run, config.launch
        return cls(
            output=run.output_dir,
            model=config.model.model_name_or_path,
            trust_remote_code=config.model.trust_remote_code,
            dataset=data.dataset,
            sources=tuple(parse_all(data.dataset)),
            eval_files=data.eval_dataset,
            neg_nums=data.neg_nums,
            explode=data.positives == "explode",
            one_dataset_per_batch=data.one_dataset_per_batch,
            text=config.text,
            tune=config.tune,
            loss=config.loss,
            optim=config.optim,
            remine=config.remine if config.remine.remine_every_epoch else None,
            eval_steps=run.eval_steps,
            save_steps=run.save_steps,
            keep=run.keep,
            patience=run.early_stopping_patience,
            metric=run.metric,
            keep_epochs=run.save_on_epoch_end,
            resume=run.resume,
            tracker=run.log_with,
            strategy=launch.strategy,
            weight_bytes=weight_bytes(config.model.model_name_or_path),
            precision=launch.mixed_precision,
            attention=launch.attention,
            tokens_per_forward=launch.tokens_per_forward,
            cpu=launch.cpu,
            json_output=config.json_output,
            quiet=config.quiet,
            settings=config.model_dump(mode="json"),
        )

    @property
    def folder(self) -> Path:
        """OUT."""
        return Path(self.output)


def launch_job(config: TrainConfig, folder: Path) -> LaunchJob:
    """The processes of a run whose configuration is in `folder`."""
    launch = config.launch
    return LaunchJob(
        worker="embedctl.training.worker",
        folder=str(folder),
        processes=launch.num_processes,
        device="cpu" if launch.cpu else None,
        strategy=launch.strategy,
        weight_bytes=weight_bytes(config.model.model_name_or_path),
        machines=launch.num_machines,
        machine_rank=launch.machine_rank,
        main_process_ip=launch.main_process_ip,
        main_process_port=launch.main_process_port,
        quiet=config.quiet,
    )


def weight_bytes(model: str) -> int | None:
    """Bytes of a local model's weights, None for a model that is not here."""
    if model == TINY:
        return TINY_BYTES
    files = [*Path(model).glob("*.safetensors"), *Path(model).glob("*.bin")] if Path(model).is_dir() else []
    return sum(file.stat().st_size for file in files) or None

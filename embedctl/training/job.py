"""What a training run does: the configuration, resolved once into plain values. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedctl.config import TINY, LossSection, OptimSection, RemineSection, RunSection, TextSection, TrainConfig
from embedctl.config.training import DataSection, LaunchSection, TuneSection
from embedctl.data.sources import Source, parse_all
from embedctl.distributed.launch import LaunchJob

TINY_BYTES = 40 << 20  # of the built-in model's weights


@dataclass(frozen=True)
class TrainJob:
    """What a run does."""

    model: str  # a folder, a hub name, or the built-in model
    trust_remote_code: bool  # whether code that comes with the model may run
    weight_bytes: int | None  # size of the model's weights, None if it is not known here
    sources: tuple[Source, ...]  # files of rows, and how often an epoch visits each row
    data: DataSection  # the sources as they were given, and how a batch is drawn from them
    text: TextSection  # lengths and prompts
    tune: TuneSection  # which weights are trained, and how the model runs meanwhile
    loss: LossSection  # options of the losses
    optim: OptimSection  # batch, steps and learning rate
    remine: RemineSection | None  # how negatives are mined in the run; None where they are not
    run: RunSection  # the folder OUT, evaluations, checkpoints and tracker
    launch: LaunchSection  # processes, machines, precision and attention
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
        return cls(
            model=config.model.model_name_or_path,
            trust_remote_code=config.model.trust_remote_code,
            weight_bytes=weight_bytes(config.model.model_name_or_path),
            sources=tuple(parse_all(config.data.dataset)),
            data=config.data,
            text=config.text,
            tune=config.tune,
            loss=config.loss,
            optim=config.optim,
            remine=config.remine if config.remine.remine_every_epoch else None,
            run=config.run,
            launch=config.launch,
            json_output=config.json_output,
            quiet=config.quiet,
            settings=config.model_dump(mode="json"),
        )

    @property
    def folder(self) -> Path:
        """OUT."""
        return Path(self.run.output_dir)

    @property
    def launch_job(self) -> LaunchJob:
        """The processes of the run."""
        return LaunchJob(
            worker="embedctl.training.worker",
            folder=str(self.folder),
            processes=self.launch.num_processes,
            device="cpu" if self.launch.cpu else None,
            strategy=self.launch.strategy,
            weight_bytes=self.weight_bytes,
            machines=self.launch.num_machines,
            machine_rank=self.launch.machine_rank,
            main_process_ip=self.launch.main_process_ip,
            main_process_port=self.launch.main_process_port,
            quiet=self.quiet,
        )


def weight_bytes(model: str) -> int | None:
    """Bytes of a local model's weights, None for a model that is not here."""
    if model == TINY:
        return TINY_BYTES
    files = [*Path(model).glob("*.safetensors"), *Path(model).glob("*.bin")] if Path(model).is_dir() else []
    return sum(file.stat().st_size for file in files) or None

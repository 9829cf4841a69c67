"""Settings of a training run, resolved from the configuration. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embedctl.config import TINY, LossSection, OptimSection, RemineSection, RunSection, TextSection, TrainConfig
from embedctl.config.runs import LaunchSection
from embedctl.config.training import DataSection, TuneSection
from embedctl.data.sources import Source, parse_dataset_options
from embedctl.distributed.launch import LaunchJob
from embedctl.locks import LOCK_FILE
from embedctl.remote import hub
from embedctl.training.resuming import fixed_settings

TINY_WEIGHT_BYTES = 40 << 20  # an upper estimate for the built-in model


@dataclass(frozen=True)
class TrainJob:
    """Settings of a training run."""

    model: str  # a folder, a name on the Hugging Face Hub, or the built-in model
    trust_remote_code: bool  # run Python code that comes with the model
    sources: tuple[Source, ...]  # training files, each with the number of visits per row and epoch
    data: DataSection  # the training files as given, and how a batch is drawn from them
    text: TextSection  # maximum lengths and prompts
    tune: TuneSection  # trained weights, memory and compilation
    loss: LossSection  # options of the losses
    optim: OptimSection  # batch size, steps and learning rate
    remine: RemineSection | None  # mining during training, None if it is off
    run: RunSection  # output folder, evaluations, checkpoints and tracker
    launch: LaunchSection  # processes, machines, precision and attention
    json_output: bool  # print one JSON object at the end
    quiet: bool  # print only results, warnings and errors
    settings: dict[str, Any]  # the whole configuration, for trackers

    @classmethod
    def from_config(cls, config: TrainConfig) -> TrainJob:
        """Return the job of a configuration.

        Raises:
            ConfigError: a weight of --dataset is not greater than 0.
            DataError: a file of --dataset is missing.
        """
        return cls(
            model=config.model.model_name_or_path,
            trust_remote_code=config.model.trust_remote_code,
            sources=tuple(parse_dataset_options(config.data.dataset)),
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

    @cached_property
    def fixed_settings(self) -> dict[str, Any]:
        """What a resumed run must not change. The training files are read once, so that they may be removed later."""
        return fixed_settings(self.settings)

    @cached_property
    def weight_bytes(self) -> int | None:
        """Size of the model's weights, from which the strategy `auto` follows; None if it is not found.

        The launcher and the workers read the same files; weights of the Hub are in the cache.
        """
        return weight_bytes(self.model) if self.launch.strategy == "auto" else None

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.run.output_dir)

    def launch_job(self, folder: Path) -> LaunchJob:
        """Return the launch settings of the run's processes, which read config.yaml from `folder`."""
        return LaunchJob(
            worker="embedctl.training.worker",
            folder=str(folder),
            remove_folder=folder != self.folder,
            lock_files=[] if self.launch.machine_rank else [str((self.folder / LOCK_FILE).absolute())],
            processes=self.launch.num_processes,
            device="cpu" if self.launch.cpu else None,
            strategy=self.launch.strategy,
            weight_bytes=self.weight_bytes,
            fsdp_reshard=self.launch.fsdp_reshard,
            fsdp_layers=list(self.launch.fsdp_layers),
            machines=self.launch.num_machines,
            machine_rank=self.launch.machine_rank,
            main_process_ip=self.launch.main_process_ip,
            main_process_port=self.launch.main_process_port,
            quiet=self.quiet,
        )


def weight_bytes(model: str) -> int | None:
    """Return the size of a model's weights in bytes; None if it is not found."""
    if model == TINY:
        return TINY_WEIGHT_BYTES
    if not Path(model).is_dir():
        return hub.weight_bytes(model)
    # also in the folders of modules, for example of the routes of a Router
    files = [file for pattern in ("*.safetensors", "*/*.safetensors", "*.bin") for file in Path(model).glob(pattern)]
    return sum(file.stat().st_size for file in files) or None

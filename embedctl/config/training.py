"""The options of train, and the values that the built-in model has of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import model_validator

from embedctl.config.base import TINY, Command, ModelSection, expect_positions, option
from embedctl.config.losses import LossSection
from embedctl.config.sections import (
    DataSection,
    LaunchSection,
    OptimSection,
    RemineSection,
    RunSection,
    TextSection,
    TuneSection,
)

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


def with_model_defaults(config: TrainConfig) -> TrainConfig:
    """The configuration with the built-in model's own lr, batch size and epochs where the user set none."""
    if config.model.model_name_or_path != TINY:
        return config
    own = {name: value for name, value in TINY_OPTIM.items() if name not in config.optim.model_fields_set}
    return config.model_copy(update={"optim": config.optim.model_copy(update=own)})

"""`embedctl train`."""

from __future__ import annotations

from embedctl.commands.flags import takes
from embedctl.config import TrainConfig

EXAMPLE = "Example: embedctl train"


@takes(TrainConfig)
def command(config: TrainConfig) -> None:
    """Do it."""
    print(config)

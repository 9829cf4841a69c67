"""`embedctl mine-negatives`."""

from __future__ import annotations

from embedctl.commands.flags import takes
from embedctl.config import MineConfig

EXAMPLE = "Example: embedctl mine-negatives"


@takes(MineConfig)
def command(config: MineConfig) -> None:
    """Do it."""
    print(config)

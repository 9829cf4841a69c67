"""`embedctl encode`."""

from __future__ import annotations

from embedctl.commands.flags import takes
from embedctl.config import EncodeConfig

EXAMPLE = "Example: embedctl encode"


@takes(EncodeConfig)
def command(config: EncodeConfig) -> None:
    """Do it."""
    print(config)

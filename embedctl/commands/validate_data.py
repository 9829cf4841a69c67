"""`embedctl validate-data`."""

from __future__ import annotations

from embedctl.commands.flags import takes
from embedctl.config import ValidateConfig

EXAMPLE = "Example: embedctl validate-data"


@takes(ValidateConfig)
def command(config: ValidateConfig) -> None:
    """Do it."""
    print(config)

"""`embedctl eval`."""

from __future__ import annotations

from embedctl.commands.flags import takes
from embedctl.config import EvalConfig

EXAMPLE = "Example: embedctl eval"


@takes(EvalConfig)
def command(config: EvalConfig) -> None:
    """Do it."""
    print(config)

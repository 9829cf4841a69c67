"""`embedctl doctor`."""

from __future__ import annotations

from embedctl.commands.flags import takes
from embedctl.config import DoctorConfig

EXAMPLE = "Example: embedctl doctor"


@takes(DoctorConfig)
def command(config: DoctorConfig) -> None:
    """Do it."""
    print(config)

"""What accelerate is given to record a run's curves with.

A tracker of ours is a class with the methods of `accelerate.tracking.GeneralTracker`, made from the folder OUT.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.config.trackers import TRACKERS


def tracker_of(name: str, folder: Path) -> Any:
    """The value of accelerate's `log_with` for a value of --log-with; None for none.

    Args:
        name: of `TRACKERS`.
        folder: OUT.
    """
    module, colon, attribute = TRACKERS[name].partition(":")
    return getattr(import_module(module), attribute)(folder) if colon else module or None


def settle_wandb(folder: Path) -> None:
    """Files go to OUT. Without a login wandb would ask at a terminal and wait: record offline instead, and say so."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_DIR", str(folder))
    if "WANDB_MODE" in os.environ or "WANDB_API_KEY" in os.environ or _has_wandb_login():
        return
    os.environ["WANDB_MODE"] = "offline"
    run = Path(os.environ["WANDB_DIR"]) / "wandb" / "latest-run"
    console.info(f"wandb: no login found, so the run is recorded offline; `wandb sync {run}` uploads it later")


def _has_wandb_login() -> bool:
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return "wandb" in netrc.read_text(encoding="utf-8")
    except OSError:
        return False

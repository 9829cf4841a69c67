"""Trackers, with which accelerate records the metrics of a run.

A custom tracker is a class with the methods of `accelerate.tracking.GeneralTracker`; its argument is the output folder.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.config.trackers import TRACKERS


def tracker_for(name: str, folder: Path) -> Any:
    """Return the value of accelerate's `log_with` for a value of --log-with; None if no tracker is used.

    Args:
        name: a key of `TRACKERS`.
        folder: the output folder of the run.
    """
    module, colon, attribute = TRACKERS[name].partition(":")
    return getattr(import_module(module), attribute)(folder) if colon else module or None


def configure_wandb(folder: Path) -> None:
    """Make wandb write to the output folder, and record offline if there is no login, instead of asking for one."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_DIR", str(folder))
    if "WANDB_MODE" in os.environ or "WANDB_API_KEY" in os.environ or _has_wandb_login():
        return
    os.environ["WANDB_MODE"] = "offline"
    run = Path(os.environ["WANDB_DIR"]) / "wandb" / "latest-run"
    console.info(f"wandb: no login found, so the run is recorded offline; upload it with `wandb sync {run}`")


def _has_wandb_login() -> bool:
    netrc = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return "wandb" in netrc.read_text(encoding="utf-8")
    except OSError:
        return False

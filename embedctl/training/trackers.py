"""Trackers, with which accelerate records the metrics of a run.

A custom tracker is a class with the methods of `accelerate.tracking.GeneralTracker`; its argument is the output folder.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.config.trackers import TRACKERS
from embedctl.distributed.ranks import is_main
from embedctl.errors import first_line
from embedctl.remote.hub import TIMEOUT_SECONDS, is_reachable
from embedctl.resources import home_folder
from embedctl.training.job import TrainJob


class GuardedTracker:
    """The tracker of a run. Any failure of it is a warning, and the run continues without it."""

    def __init__(self, accelerator: Any, job: TrainJob) -> None:
        self.accelerator, self.name, self.folder = accelerator, job.run.log_with, job.folder
        self.works = True  # until the first failure

    def start(self, settings: dict[str, int | float | str]) -> None:
        """Start the tracker and record the settings of the run."""
        from accelerate.tracking import filter_trackers

        with _FailureAsWarning(self, "cannot be started"):
            if self.name == "wandb":
                configure_wandb(self.folder)
            module, colon, attribute = TRACKERS[self.name].partition(":")
            tracker = getattr(import_module(module), attribute)(self.folder) if colon else module or None
            self.accelerator.log_with = filter_trackers(tracker, str(self.folder))
            self.accelerator.init_trackers("embedctl", config=settings)

    def log(self, numbers: dict[str, Any], step: int) -> None:
        """Record the metrics of a step."""
        if self.works:
            with _FailureAsWarning(self, "failed"):
                self.accelerator.log(numbers, step=step)

    def finish(self) -> None:
        """End the tracker; `Accelerator.end_training` would also destroy the process group, which the export needs."""
        if self.works:
            with _FailureAsWarning(self, "could not be closed"):
                for tracker in self.accelerator.trackers:
                    tracker.finish()


@dataclass
class _FailureAsWarning(AbstractContextManager[None]):
    """Turns every exception of a with-block into a warning. A tracker is foreign code that may raise any type."""

    tracker: GuardedTracker
    what: str

    def __exit__(self, kind: object, cause: BaseException | None, trace: object) -> bool:
        if not isinstance(cause, Exception):
            return False
        self.tracker.works = False
        failure = f"the tracker {self.what}: {type(cause).__name__}: {first_line(cause)}"
        consequence = "The run continues without it; all metrics are in metrics.jsonl."
        console.warn(f"--log-with {self.tracker.name}: {failure}. {consequence}")
        return True


def configure_wandb(folder: Path) -> None:
    """Make wandb write to the output folder; without a login or a connection, make it record offline."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_DIR", str(folder))
    if "WANDB_MODE" in os.environ or not is_main():
        return
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    reason = ""
    if "WANDB_API_KEY" not in os.environ and not _has_wandb_login():
        reason = "no login found"
    elif not is_reachable(server, TIMEOUT_SECONDS):
        reason = f"{server} is not reachable"
    if reason:
        os.environ["WANDB_MODE"] = "offline"
        run = Path(os.environ["WANDB_DIR"]) / "wandb" / "latest-run"
        console.warn(f"wandb: {reason}, so the run is recorded offline. Upload it later with `wandb sync {run}`.")


def _has_wandb_login() -> bool:
    netrc = Path(os.environ.get("NETRC", home_folder() / ".netrc"))
    try:
        return "wandb" in netrc.read_text(encoding="utf-8")
    except OSError:
        return False

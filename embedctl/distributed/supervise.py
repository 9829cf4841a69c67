"""The process that supervises a job's workers: `python -m embedctl.distributed.supervise JOB`, JOB as JSON.

It runs accelerate's launcher and turns what comes back into one message and one exit code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys

if __name__ == "__main__":  # Ctrl-C while this and the launcher are imported: end without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from embedctl import console
from embedctl.distributed.launch import LaunchJob, write_launch
from embedctl.distributed.worker import LAUNCHER
from embedctl.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_TERMINATED, ConfigError

SIGNAL_EXIT = 128


@dataclass(frozen=True)
class Outcome:
    """How the workers ended: an exit code, one message and the next action."""

    code: int
    message: str = ""
    hint: str = ""


def main(job: LaunchJob) -> int:
    """Run the workers of a job and print how they failed, if they did.

    Returns:
        The exit code: 0, 2 for a user's error, 130 and 143 for a stop, 128 + signal for a crash, 70 for a bug.
    """
    folder = Path(job.folder)
    console.configure(quiet=job.quiet)
    for earlier in [*folder.glob("error.rank*.json"), *folder.glob("traceback.rank*.txt")]:
        earlier.unlink()
    try:
        write_launch(job)
        outcome = reported(folder, run_launcher(launcher(job)))
    except ConfigError as mistake:
        outcome = Outcome(mistake.exit_code, mistake.message, mistake.hint)
    if job.after_stop and outcome.code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        outcome = replace(outcome, message="interrupted", hint=job.after_stop)
    if outcome.code:
        console.error(outcome.message, outcome.hint)
    if job.temporary and outcome.code != EXIT_BUG:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome.code


def launcher(job: LaunchJob) -> Callable[[], None]:
    """Accelerate's launcher, ready to be called; it returns when all workers have ended."""
    import torch.distributed.run  # noqa: F401  its loggers exist once it is imported
    from accelerate.commands.launch import launch_command, launch_command_parser

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):  # their account of a failure is forty lines long; ours is one
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")  # a checkpoint may still be on its way to the disk
    parsed = launch_command_parser().parse_args(job.arguments)
    return lambda: launch_command(parsed)


def run_launcher(start: Callable[[], None]) -> Outcome:
    """Run accelerate's launcher and name what it raises."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for number in (signal.SIGINT, signal.SIGTERM):  # several processes have torch's agent, which takes these over
        signal.signal(number, _forward)
    try:
        start()
    except SignalException as stop:
        return Outcome(SIGNAL_EXIT + int(stop.sigval), f"stopped by {stop.sigval.name}")
    except KeyboardInterrupt:
        return Outcome(EXIT_INTERRUPTED, "interrupted")
    except subprocess.CalledProcessError as child:
        return _ended(child.returncode, "the worker")
    except ChildFailedError as failed:
        children = sorted(failed.failures.items(), key=lambda item: int(item[1].timestamp))
        crashed = [item for item in children if item[1].exitcode not in (-15, 143)] or children
        return _ended(crashed[0][1].exitcode, f"the worker of rank {crashed[0][0]}")
    return Outcome(0)


def _forward(number: int, _frame: FrameType | None) -> None:
    """A single worker is told to stop, and its end is waited for: it saves its state first. Before it is there, end."""
    import psutil

    workers = psutil.Process().children()
    if not workers:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    for worker in workers:
        worker.send_signal(number)


def _ended(code: int, who: str) -> Outcome:
    """The outcome for the exit code of a worker; negative: the signal that killed it."""
    if -code in (signal.SIGINT, signal.SIGTERM):
        return Outcome(SIGNAL_EXIT - code, "stopped outside the steps; no new state is saved")
    if code < 0:
        hint = "the machine may have run out of memory; a smaller --tokens-per-forward needs less" if code == -9 else ""
        return Outcome(SIGNAL_EXIT - code, f"{who} was killed by signal {-code}", hint)
    return Outcome(code, f"{who} exited with code {code}")


def reported(folder: Path, outcome: Outcome) -> Outcome:
    """The earliest failure that the ranks reported, in place of what the launcher saw of it."""
    reports = [json.loads(path.read_text()) for path in folder.glob("error.rank*.json")]
    if outcome.code == 0 or not reports:
        return outcome
    first = min(reports, key=lambda report: report["time"])
    hint = first["hint"]
    if first["code"] == EXIT_BUG:
        hint = f"this is a bug; its traceback: {folder / first['traceback']}"
    return Outcome(first["code"], first["message"], hint)


if __name__ == "__main__":
    code = main(LaunchJob(**json.loads(sys.argv[1])))
    sys.stdout.flush()
    os._exit(code)  # the launcher leaves threads behind that would hold the exit back

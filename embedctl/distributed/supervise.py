"""Supervisor of a job's workers: `python -m embedctl.distributed.supervise JOB`, with JOB as JSON.

It runs accelerate's launcher in this process, and reports the end of the workers as one message and one exit code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys

if __name__ == "__main__":  # Ctrl-C during the imports below, which take seconds, ends without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from embedctl import console
from embedctl.distributed.launch import LaunchJob, write_launch
from embedctl.distributed.worker import LAUNCHER_PID
from embedctl.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_SIGNAL,
    EXIT_USER_ERROR,
    MEMORY_HINT,
    ConfigError,
    Stopped,
    Terminated,
    first_line,
)
from embedctl.signals import STOP_SIGNALS, handled_stop_signals

Handler = Callable[[int, FrameType | None], None] | signal.Handlers
CRASH_HINT = "read the output above; if it does not name the cause, report this as a bug in embedctl, with that output"
# Signals with which the system kills a process although the program is right.
KILL_HINTS: dict[int, str] = {
    signal.SIGKILL: f"the system kills processes when memory runs out: {MEMORY_HINT}",
    signal.SIGBUS: "a file became shorter, or a disk or /dev/shm is full: free space and run again",
    signal.SIGILL: "a package uses instructions that this processor lacks: install packages built for it",
}
CONNECTION_HINT = (
    "give a free port of the main machine with --main-process-port, the same on each machine, and check that "
    "the command runs on the main machine and that its port can be reached"
)
RESTART_HINT = "run the command again; continue a training run with `embedctl train --resume RUN`"


@dataclass(frozen=True)
class Outcome:
    """Exit code, error message and hint of a job that has ended."""

    code: int
    message: str = ""
    hint: str = ""
    killed: bool = False  # whether a worker was killed; errors of the other ranks only follow from that


def main(job: LaunchJob) -> int:
    """Run the workers of a job, print an error message if they fail, and return the exit code.

    It is 0 for success, 2 for an error of the user, 128 + signal after a stop or a crash by a signal, 70 for a bug.
    """
    folder = Path(job.folder)
    console.configure(quiet=job.quiet)
    for old in [*folder.glob("error.rank*.json"), *folder.glob("traceback.rank*.txt")]:
        old.unlink()
    try:
        write_launch(job)
        waits = job.machines > 1
        if waits:
            console.info(rendezvous_message(job))
        # The wait for other machines is in C++, where Python's handlers are not called.
        handler = signal.SIG_DFL if waits else _forward_signal
        outcome = with_worker_report(folder, run_launcher(create_launcher(job), handler))
    except ConfigError as error:
        outcome = Outcome(error.exit_code, error.message, error.hint)
    if job.stop_hint and outcome.code - EXIT_SIGNAL in STOP_SIGNALS:
        stopped = Stopped.by(Terminated(outcome.code - EXIT_SIGNAL))
        outcome = replace(outcome, message=stopped.message, hint=job.stop_hint)
    if outcome.killed and outcome.code == EXIT_SIGNAL + signal.SIGKILL:
        outcome = replace(outcome, hint=f"the machine may have run out of memory; use a smaller {job.memory_option}")
    if outcome.code:
        console.error(outcome.message, outcome.hint)
    for path in map(Path, job.lock_files):
        path.unlink(missing_ok=True)
    for report in folder.glob("error.rank*.json"):
        report.unlink()
    if job.remove_folder and outcome.code != EXIT_BUG:
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()  # empty if it was removed while the job ran and a worker created it again for its report
    return outcome.code


def rendezvous_message(job: LaunchJob) -> str:
    """Return what the processes of this machine wait for before they start, and where."""
    others = "the main machine" if job.machine_rank else console.plural(job.machines - 1, "other machine")
    address = f"{job.main_process_ip}:{job.main_process_port}"
    return f"machine {job.machine_rank} of {job.machines}: waiting for {others} at {address}; Ctrl-C stops waiting"


def create_launcher(job: LaunchJob) -> Callable[[], None]:
    """Return a function that runs accelerate's launcher until all workers have ended."""
    import torch.distributed.run  # noqa: F401  creates the loggers that are configured below
    from accelerate.commands.launch import launch_command, launch_command_parser

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):  # they report a failure in forty lines; the supervisor prints one
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ[LAUNCHER_PID] = str(os.getpid())
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")  # seconds; a worker may be saving a checkpoint
    parsed = launch_command_parser().parse_args(job.arguments)
    # torch's agent would replace the handlers of all its signals, also of those that are ignored (SIGHUP under nohup).
    parsed.signals_to_handle = ",".join(number.name for number in handled_stop_signals())
    return lambda: launch_command(parsed)


def run_launcher(launch: Callable[[], None], handler: Handler) -> Outcome:
    """Install a handler of the stop signals, run accelerate's launcher, and return the outcome."""
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for number in handled_stop_signals():  # with several processes, torch's agent replaces these handlers
        signal.signal(number, handler)
    try:
        launch()
    except (ConnectionError, DistNetworkError) as cause:  # the port is in use, or the main machine stopped
        return Outcome(EXIT_USER_ERROR, f"the processes cannot be connected: {first_line(cause)}", CONNECTION_HINT)
    except SignalException as stop:
        return Outcome(EXIT_SIGNAL + int(stop.sigval), f"stopped by {stop.sigval.name}", RESTART_HINT)
    except KeyboardInterrupt:
        return Outcome(EXIT_INTERRUPTED, "interrupted", RESTART_HINT)
    except subprocess.CalledProcessError as child:
        return _outcome_of(child.returncode, "the worker process")
    except ChildFailedError as failed:
        children = sorted(failed.failures.items(), key=lambda item: int(item[1].timestamp))
        killed = [item for item in children if item[1].exitcode < 0 and -item[1].exitcode not in STOP_SIGNALS]
        crashed = killed or [item for item in children if item[1].exitcode not in (-15, 143)] or children
        return _outcome_of(crashed[0][1].exitcode, f"the worker process of rank {crashed[0][0]}")
    return Outcome(0)


def _forward_signal(number: int, _frame: FrameType | None) -> None:
    """Send a signal on to the single worker, which saves a checkpoint and ends; end this process if there is none."""
    import psutil

    workers = psutil.Process().children()
    if not workers:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    for worker in workers:
        worker.send_signal(number)


def _outcome_of(code: int, worker: str) -> Outcome:
    """Return the outcome for a worker's exit code, which is -N if signal N killed the worker."""
    number = -code if code < 0 else code - EXIT_SIGNAL
    if number in STOP_SIGNALS:
        message = f"stopped by {signal.Signals(number).name}; no new checkpoint was saved"
        return Outcome(EXIT_SIGNAL + number, message, RESTART_HINT)
    if code < 0:
        name = f"{signal.Signals(number).name} (signal {number})"
        return Outcome(
            EXIT_SIGNAL + number, f"{worker} was killed by {name}", KILL_HINTS.get(number, CRASH_HINT), killed=True
        )
    return Outcome(code, f"{worker} ended with exit code {code} and without an error message", CRASH_HINT)


def with_worker_report(folder: Path, outcome: Outcome) -> Outcome:
    """Return the earliest failure that a worker reported; after success or a kill, or without reports, `outcome`."""
    reports = [json.loads(path.read_text()) for path in folder.glob("error.rank*.json")]
    if outcome.code == 0 or outcome.killed or not reports:
        return outcome
    first = min(reports, key=lambda report: report["time"])
    bug_hint = f"this is a bug in embedctl; report it with the traceback in {folder / first['traceback']}"
    return Outcome(first["code"], first["message"], bug_hint if first["code"] == EXIT_BUG else first["hint"])


if __name__ == "__main__":
    code = main(LaunchJob(**json.loads(sys.argv[1])))
    sys.stdout.flush()
    os._exit(code)  # threads that the launcher leaves behind would delay a normal exit

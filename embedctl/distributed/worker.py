"""Entry point of every worker process.

A worker ends together with its launcher, and reports a failure in a file that the supervisor reads. Without a
supervisor, it also prints the failure.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from embedctl import console
from embedctl.credentials import masked
from embedctl.errors import EXIT_BUG, EXIT_SIGNAL, EXIT_USER_ERROR, EmbedctlError, Terminated, system_error
from embedctl.files import write_atomically
from embedctl.signals import stop_signals_raised

LAUNCHER_PID = "EMBEDCTL_LAUNCHER"  # environment variable: id of the process that starts the workers
PR_SET_PDEATHSIG = 1  # of prctl(2)


def die_with_parent() -> None:
    """End this worker when its launcher is killed, even if that happened before this call (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.environ.get(LAUNCHER_PID, str(os.getppid())) != str(os.getppid()):
            os._exit(1)


def config_file_argument(module: str, hint: str) -> str:
    """Return the configuration file that a worker module received; without one, print an error and end the process.

    Args:
        module: the module.
        hint: which command writes such a file.
    """
    given = sys.argv[1:]
    if len(given) == 1 and Path(given[0]).is_file():
        return given[0]
    takes = f"`python -m {module} FOLDER/config.yaml` takes the configuration of a run"
    console.error(f"{takes}; {given[0]}: no such file" if len(given) == 1 else f"{takes} as its only argument", hint)
    raise SystemExit(EXIT_USER_ERROR)


def report_failure(folder: Path, code: int, message: str, hint: str, trace: str = "") -> None:
    """Write a failure to FOLDER/error.rankN.json, and its traceback to FOLDER/traceback.rankN.txt.

    Credentials are replaced by `***`. A worker that a scheduler started has no supervisor, and also prints the failure.
    """
    if LAUNCHER_PID not in os.environ:
        sys.stderr.write(masked(trace))
        console.error(message, hint)
    rank = os.environ.get("RANK", "0")
    name = f"traceback.rank{rank}.txt"
    if trace:
        write_atomically(folder / name, masked(trace))
    failure = {"code": code, "message": masked(message), "hint": masked(hint), "time": time.time(), "traceback": name}
    write_atomically(folder / f"error.rank{rank}.json", json.dumps(failure))


def run_worker(folder: Path, work: Callable[[], None]) -> NoReturn:
    """Run `work`, report a failure to `folder`, and end the process.

    After a failure the process ends at once, because other ranks may wait for it in a collective operation.
    """

    def _report(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if error := system_error(value):
            report_failure(folder, error.exit_code, error.message, error.hint)
            os._exit(error.exit_code)
        text = "".join(traceback.format_exception(kind, value, trace))
        report_failure(folder, EXIT_BUG, f"{kind.__name__}: {value}", "", text)
        sys.stderr.flush()
        os._exit(EXIT_BUG)

    sys.excepthook = _report
    die_with_parent()
    try:
        with stop_signals_raised():
            work()
    except Terminated as stop:
        os._exit(EXIT_SIGNAL + stop.number)
    except EmbedctlError as error:
        report_failure(folder, error.exit_code, error.message, error.hint)
        os._exit(error.exit_code)
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # another rank has ended already; the work of this rank is complete
            torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of a process group that are still running could abort the interpreter's own shutdown

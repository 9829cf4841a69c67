"""Entry of every worker process: it ends with its launcher, and reports a failure to a file that the launcher reads."""

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

from embedctl.errors import EXIT_BUG, EmbedctlError
from embedctl.files import write_atomically

LAUNCHER = "EMBEDCTL_LAUNCHER"  # environment variable: the process on which the workers depend


def die_with_parent() -> None:
    """On Linux, a worker whose launcher is killed ends too, even if that was before this call."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
            os._exit(1)


def report(folder: Path, code: int, message: str, hint: str, trace: str = "") -> None:
    """Write a failure to the file that the supervising process reads."""
    me = os.environ.get("RANK", "0")
    name = f"traceback.rank{me}.txt"
    if trace:
        write_atomically(folder / name, trace)
    document = {"code": code, "message": message, "hint": hint, "time": time.time(), "traceback": name}
    write_atomically(folder / f"error.rank{me}.json", json.dumps(document))


def guarded(folder: Path, work: Callable[[], None]) -> NoReturn:
    """Do a worker's work and end the process: at once on a failure, since a peer may be waiting in a collective."""

    def _on_bug(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        report(
            folder, EXIT_BUG, f"{kind.__name__}: {value}", "", "".join(traceback.format_exception(kind, value, trace))
        )
        sys.stderr.flush()
        os._exit(EXIT_BUG)

    sys.excepthook = _on_bug
    die_with_parent()
    try:
        work()
    except EmbedctlError as mistake:
        report(folder, mistake.exit_code, mistake.message, mistake.hint)
        os._exit(mistake.exit_code)
    leave()


def leave() -> NoReturn:
    """End well, without the interpreter's own end: the threads of a process group that outlive it can abort there."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # a peer that is gone already changes nothing about this one's work
            torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

"""Signals that stop a command: they raise an exception, so that temporary files are removed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from embedctl.errors import Terminated

# Ctrl-C, the request of a scheduler or of `kill`, and the loss of the terminal. Windows has no SIGHUP.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def handled_stop_signals() -> list[signal.Signals]:
    """Return the stop signals that are not ignored; nohup ignores SIGHUP."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


@contextmanager
def deferred_stop_signals() -> Iterator[None]:
    """Deliver stop signals that arrive in a with-block at its end."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def raise_on_stop_signals() -> None:
    """Make the stop signals raise `Terminated` in the main thread."""

    def _raise(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    for number in handled_stop_signals():
        signal.signal(number, _raise)

"""Signals that stop a command: they raise an exception, so that temporary files are removed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
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


class stop_signals_raised(AbstractContextManager[None]):  # noqa: N801  used like a function
    """Make the stop signals raise `Terminated` in the main thread, from a with-block on.

    Python and extension modules convert an exception that arrives during an import, for example to an ImportError. Any
    error of the with-block after a signal therefore becomes `Terminated` at its end.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> None:
        """Install the handlers of the signals."""
        for number in handled_stop_signals():
            signal.signal(number, self._raise)

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        raise Terminated(number)

    def __exit__(self, kind: object, cause: BaseException | None, trace: object) -> None:
        """Raise `Terminated` if an error followed a signal."""
        if self.received is not None and isinstance(cause, Exception):
            raise Terminated(self.received) from cause

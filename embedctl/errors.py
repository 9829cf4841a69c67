"""Exceptions for errors that the user can fix, and their exit codes.

    EmbedctlError            2
    ├── ConfigError          2  wrong option, configuration key or combination of them
    ├── DataError            2  wrong content of a file: file:line: field: what is wrong
    ├── ModelError           2  a model or checkpoint that cannot be loaded or saved
    ├── OutputError          2  a file cannot be written: no space, no permission, or its folder was removed
    ├── TrainingError        2  training cannot continue: the loss is not finite, or there is nothing to learn from
    └── CheckFailed          1  the command ran, and its check failed
    Stopped                  128 + signal  stopped by Ctrl-C, SIGTERM or SIGHUP; training saved a checkpoint first
    Terminated               128 + signal  raised by these signals; no Exception, so no library suppresses it

Any other exception is a bug and keeps its traceback, unless `system_error` recognises that the system refused memory or
a file. `message` states what is wrong and `hint` states the next action.
"""

from __future__ import annotations

import errno
import sys
from signal import SIGINT, Signals

from embedctl.credentials import masked

EXIT_CHECK_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_BUG = 70
EXIT_SIGNAL = 128  # plus the number of the signal
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
MEMORY_HINT = (
    "end other programs that use this memory, use a smaller model, "
    "or give a smaller --batch-tokens (encode) or --tokens-per-forward (train)"
)


def _numbers(names: str) -> frozenset[int]:
    """Return the numbers of errors of the system; an error that this system does not have is left out."""
    return frozenset(getattr(errno, name) for name in names.split() if hasattr(errno, name))


# What the system refuses although the program is right: no permission, no space, a damaged disk, too many files.
WRITE_ERRORS = _numbers("ENOSPC EDQUOT EFBIG EROFS EACCES EPERM EIO ESTALE ENOTDIR EISDIR")
SYSTEM_ERRORS = WRITE_ERRORS | _numbers("EMFILE ENFILE ELOOP ENAMETOOLONG")


class EmbedctlError(Exception):
    """Base class of errors that the user can fix.

    Args:
        message: what is wrong, in one sentence or as a list with one problem per line.
        hint: the next action.
    """

    exit_code = EXIT_USER_ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EmbedctlError):
    """An option, a configuration key or a combination of them is wrong."""


class DataError(EmbedctlError):
    """A data file is missing or its content is wrong; the message begins with `file:line: field:`."""


class ModelError(EmbedctlError):
    """A model or checkpoint cannot be loaded, used or saved."""


class OutputError(EmbedctlError):
    """A file cannot be written; the message names it and the free disk space."""


class TrainingError(EmbedctlError):
    """Training cannot start or continue: for example, the loss is not finite."""


class CheckFailed(EmbedctlError):
    """The command ran, and its check failed: for example, a file has errors or a metric is too low."""

    exit_code = EXIT_CHECK_FAILED


class Terminated(BaseException):
    """Raised in the main thread by Ctrl-C, SIGTERM or SIGHUP, so that temporary files are removed.

    Not a KeyboardInterrupt, for which Typer ends the process without a message.

    Args:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopped(EmbedctlError):
    """A signal stopped the command; the hint states what was kept and how to continue."""

    def __init__(self, message: str, hint: str = "", *, exit_code: int = EXIT_INTERRUPTED) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code

    @classmethod
    def by(cls, stop: KeyboardInterrupt | Terminated, hint: str = "") -> Stopped:
        """Return the error for an exception that a signal raised."""
        number = stop.number if isinstance(stop, Terminated) else SIGINT
        message = "interrupted" if number == SIGINT else f"stopped by {Signals(number).name}"
        return cls(message, hint, exit_code=EXIT_SIGNAL + number)


def first_line(exception: BaseException) -> str:
    """Return the first line of another library's error message, at most 300 characters and without credentials.

    A line that ends with a colon is followed by the next one. If the message is empty, or is only a key that was not
    found, it begins with the name of the exception's type.
    """
    name, (line, *others) = type(exception).__name__, (str(exception).strip() or type(exception).__name__).splitlines()
    if line.endswith(":") and others:
        line = f"{line} {others[0].strip()}"
    return masked(f"{name}: {line}" if isinstance(exception, KeyError) else line)[:300]


def system_error(cause: BaseException) -> EmbedctlError | None:
    """Return the error for an exception with which the system refused memory or a file; None for any other one."""
    torch = sys.modules.get("torch")  # if it is not imported, the exception is not one of torch
    if torch is not None and isinstance(cause, torch.OutOfMemoryError):
        return EmbedctlError("out of GPU memory", MEMORY_HINT)
    if isinstance(cause, MemoryError) or "can't allocate memory" in str(cause):  # torch on the CPU
        return EmbedctlError("out of memory", MEMORY_HINT)
    if isinstance(cause, OSError) and cause.errno in SYSTEM_ERRORS:
        name = f"{cause.filename}: " if cause.filename is not None else ""
        return EmbedctlError(f"{name}{cause.strerror}", "make the file or folder usable, or give another one")
    return None

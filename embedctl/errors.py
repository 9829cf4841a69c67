"""What can go wrong through no bug of ours, and the exit code of each.

    EmbedctlError            2
    ├── ConfigError          2  a flag, a configuration key or a combination of them
    ├── DataError            2  a file's content: file:line: field: what is wrong
    ├── ModelError           2  a model or checkpoint that can't be loaded or saved
    ├── TrainingError        2  a run that can't go on: loss not finite, nothing to learn from
    └── CheckFailed          1  the check that was asked for failed
    Stopped                  130 / 143  ended by Ctrl-C or SIGTERM; training saved its state first

Everything else is a bug and keeps its traceback. A message says what is wrong; `hint` names the next action.
"""

from __future__ import annotations

EXIT_CHECK_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class EmbedctlError(Exception):
    """A mistake that its user can mend.

    Args:
        message: what is wrong, in one sentence or a list of faults, a line each.
        hint: what to do next.
    """

    exit_code = EXIT_USER_ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EmbedctlError):
    """A flag, a configuration key or a combination of them is wrong."""


class DataError(EmbedctlError):
    """A data file is missing or its content is wrong; the message begins with `file:line: field:`."""


class ModelError(EmbedctlError):
    """A model or checkpoint can't be loaded, used or saved."""


class TrainingError(EmbedctlError):
    """A run can't go on."""


class CheckFailed(EmbedctlError):
    """The check that was asked for ran and failed."""

    exit_code = EXIT_CHECK_FAILED


class Stopped(EmbedctlError):
    """A command was stopped by a signal; the hint says what is kept and how to go on."""

    def __init__(self, message: str, hint: str = "", *, exit_code: int = EXIT_INTERRUPTED) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


def first_line(cause: BaseException) -> str:
    """What another library's exception says, cut to fit in a message of ours; its type where it says nothing."""
    return (str(cause).strip() or type(cause).__name__).splitlines()[0][:300]

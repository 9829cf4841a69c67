"""The command-line app: registers the commands, and turns exceptions into messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from embedctl import __version__, console
from embedctl.commands.help import CommandHelp, RootHelp
from embedctl.credentials import masked
from embedctl.errors import EXIT_BUG, ConfigError, EmbedctlError, Stopped, Terminated, system_error
from embedctl.resources import complete_environment
from embedctl.signals import stop_signals_raised

# Each command and its module in embedctl/commands, in the order of a user's work; `embedctl --help` uses this order.
COMMANDS = {
    "validate-data": "validate_data",
    "mine-negatives": "mine_negatives",
    "train": "train",
    "eval": "evaluate",
    "encode": "encode",
    "search": "search",
    "doctor": "doctor",
}
app = typer.Typer(
    name="embedctl",
    cls=RootHelp,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={
        "token_normalize_func": lambda name: name.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
)
for _name, _module in COMMANDS.items():
    _file = import_module(f"embedctl.commands.{_module}")
    app.command(_name, cls=CommandHelp, epilog=_file.EXAMPLES)(_file.command)


def _print_version(requested: bool) -> None:
    if requested:
        console.output(f"embedctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Fine-tune text-embedding models for retrieval, encode texts with them, and evaluate them."""


def with_default_resume(arguments: list[str]) -> list[str]:
    """Replace `--resume` without a value by `--resume=latest`; Typer has no options with an optional value."""
    pairs = pairwise([*arguments, "--"])
    return [f"{item}=latest" if item == "--resume" and following.startswith("-") else item for item, following in pairs]


def check_encoding(arguments: list[str]) -> None:
    """Check that the arguments and the name of the working folder can be written to JSON and YAML files.

    Raises:
        ConfigError: the bytes of one of them are not UTF-8, or the working folder does not exist any more.
    """
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:
        raise ConfigError("the working folder was removed", "run the command in an existing folder") from None
    for name, text in (*(("argument", argument) for argument in arguments), ("working folder", folder)):
        written = os.fsencode(text).decode("utf-8", "backslashreplace")
        if written != text:
            hint = "give texts in UTF-8, and rename a file or folder whose name is not UTF-8"
            raise ConfigError(f"the {name} {written} is not UTF-8", hint)


def report_bug(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug without credentials, and end the process with the exit code of a bug."""
    sys.stderr.write(masked("".join(traceback.format_exception(kind, value, trace))))
    console.error("this is a bug in embedctl", "report it with the traceback above")
    sys.stderr.flush()
    os._exit(EXIT_BUG)


def main() -> None:
    """Run the command line. An error that the user can fix is printed as a message; a bug, as a traceback."""
    console.configure()
    sys.excepthook = report_bug
    try:
        with stop_signals_raised():
            check_encoding(sys.argv[1:])
            complete_environment()
            app(with_default_resume(sys.argv[1:]), prog_name="embedctl")  # ends with SystemExit
    except EmbedctlError as error:
        failure = error
    except (KeyboardInterrupt, Terminated) as stop:
        failure = Stopped.by(stop)
    except (MemoryError, OSError, RuntimeError) as cause:
        known = system_error(cause)
        if known is None:
            raise
        failure = known
    console.error(failure.message, failure.hint)
    raise SystemExit(failure.exit_code)

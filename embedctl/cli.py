"""The command-line app: registers the commands, and turns exceptions into messages and exit codes."""

from __future__ import annotations

import sys
from importlib import import_module
from itertools import pairwise
from typing import Annotated

import typer

from embedctl import __version__, console
from embedctl.commands.help import CommandHelp, RootHelp
from embedctl.errors import EmbedctlError, Stopped, Terminated
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
        print(f"embedctl {__version__}")
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


def main() -> None:
    """Run the command line. An error that the user can fix is printed as a message; a bug, as a traceback."""
    try:
        with stop_signals_raised():
            app(with_default_resume(sys.argv[1:]), prog_name="embedctl")
    except EmbedctlError as error:
        console.error(error.message, error.hint)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, Terminated) as stop:
        stopped = Stopped.by(stop)
        console.error(stopped.message)
        raise SystemExit(stopped.exit_code) from None

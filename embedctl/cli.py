"""The console app: one registration line per command, and the only error boundary."""

from __future__ import annotations

import sys
from importlib import import_module
from itertools import pairwise
from typing import Annotated

import typer

from embedctl import __version__, console
from embedctl.commands.help import CommandHelp
from embedctl.errors import EXIT_INTERRUPTED, EmbedctlError

# Each command and its file in embedctl/commands, in the order of the help.
COMMANDS = {
    "validate-data": "validate_data",
    "mine-negatives": "mine_negatives",
    "train": "train",
    "encode": "encode",
    "search": "search",
    "eval": "evaluate",
    "doctor": "doctor",
}
app = typer.Typer(
    name="embedctl",
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
    app.command(_name, cls=CommandHelp, epilog=_file.EXAMPLE)(_file.command)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"embedctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Fine-tune, encode with and evaluate text-embedding models."""


def with_default_resume(arguments: list[str]) -> list[str]:
    """`--resume` with no value means the newest state; Typer knows no optional values."""
    pairs = pairwise([*arguments, "--"])
    return [f"{word}=latest" if word == "--resume" and following.startswith("-") else word for word, following in pairs]


def main() -> None:
    """Run the command line; a user's mistake ends in a message and an exit code, a bug in its traceback."""
    try:
        app(with_default_resume(sys.argv[1:]), prog_name="embedctl")
    except EmbedctlError as mistake:
        console.error(mistake.message, mistake.hint)
        raise SystemExit(mistake.exit_code) from None
    except KeyboardInterrupt:
        console.error("interrupted")
        raise SystemExit(EXIT_INTERRUPTED) from None

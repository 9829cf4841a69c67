"""How `embedctl COMMAND --help` looks: a panel a group, two columns, and a long name on a line of its own.

Typer's own layout gives every part of a name its own column and cuts what does not fit: 80 columns show half a flag.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

SMALLEST_NAMES = 26
SHARE_OF_NAMES = 0.34
FOOT = "A flag beats --config. --no-FLAG turns a switch off. --neg_nums is --neg-nums."
DEFAULT_AT_END = re.compile(r"\(default: [^()]*\)$")


class CommandHelp(TyperCommand):
    """A command whose help is drawn by this module."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help to stdout; the formatter's plain text is left unused."""
        screen = Console(highlight=False)
        screen.print(Text(self.get_usage(ctx), style="bold"), Text(self.help or ""), sep="\n\n")
        screen.print()
        for title, options in _panels(self.get_params(ctx)).items():
            body = Group(*(part for option in options for part in _entry(option, screen.width - 4)))
            screen.print(Panel(body, title=title, title_align="left", border_style="dim"))
        screen.print(_example(self.epilog or ""), soft_wrap=True)
        screen.print(Text(FOOT, style="dim"))


def _panels(options: list[Any]) -> dict[str, list[Any]]:
    """The visible options under their headings, in the order of their first mention; --help joins Output."""
    panels: dict[str, list[Any]] = defaultdict(list)
    for option in options:
        if not getattr(option, "hidden", False):
            panels[getattr(option, "rich_help_panel", None) or "Output"].append(option)
    return dict(sorted(panels.items(), key=lambda panel: panel[0] == "Output"))


def _entry(option: Any, width: int) -> list[RenderableType]:
    """One option in two columns, or its name above where that is too long for the first."""
    names = _names(option)
    column = max(SMALLEST_NAMES, int(width * SHARE_OF_NAMES))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=column)
    grid.add_column(overflow="fold", ratio=1)
    if names.cell_len <= column:
        grid.add_row(names, _words(option))
        return [grid]
    grid.add_row("", _words(option))
    return [names, grid]


def _names(option: Any) -> Text:
    """`-o, --output-dir TEXT`, the positional `FILE...`."""
    value = option.metavar or ""
    if option.param_type_name == "argument":
        return Text(value, style="bold cyan")
    flags = sorted(option.opts, key=lambda name: name.startswith("--"))
    return Text.assemble((", ".join(flags), "bold cyan"), (f" {value}" if value else "", "yellow"))


def _words(option: Any) -> Text:
    """The option's description with its default dimmed."""
    words = Text(option.help or "")
    words.highlight_regex(DEFAULT_AT_END, style="dim")
    return words


def _example(epilog: str) -> Text:
    """The example's lines as they are typed."""
    lines = [line.strip() for line in epilog.removeprefix("Example:").strip().splitlines() if line.strip()]
    return Text.assemble(("Example\n", "bold"), *(f"  {line}\n" for line in lines))

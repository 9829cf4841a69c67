"""The layout of `embedctl --help` and `embedctl COMMAND --help`: panels with two columns, and examples to copy.

Typer's own layout has one column for each part of an option's name and cuts long names on a terminal of 80 columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typer import BadParameter
from typer.core import TyperCommand, TyperGroup

from embedctl.commands.switches import with_switch_values
from embedctl.console import Screen, visible

UsageError: Any = BadParameter.__mro__[1]  # the base class of errors of parsing, which Typer does not export
MAIN_OPTIONS, OUTPUT = "Main options", "Output"
# The order of the panels: those that users need most often come first. Panels that are not listed come before Output.
PANELS = (
    MAIN_OPTIONS,
    "Data",
    "Negatives",
    "Training",
    "Output folder and checkpoints",
    "Evaluation and tracking",
    "Loss",
    "Limits and filters",
    "Search",
    "Reranker",
    "Texts",
    "Model",
    "Mining during training",
    "Hardware and processes",
)
MIN_NAME_WIDTH, NAME_SHARE = 26, 0.34  # of the column of names: in characters, and as a fraction of the width
NARROW_WIDTH, NARROW_INDENT = 60, 3  # on a narrower screen, names are above their description, which is indented
FOOTER = (
    "Options on the command line override --config. --no-NAME or --NAME=0 turns the switch --NAME off. "
    "Underscores are accepted: --neg_nums is the same as --neg-nums."
)
ROOT_FOOTER = "Run embedctl COMMAND --help for the options and examples of a command."
DEFAULT_AT_END = r"\(default: [^()]*\)$"
# Descriptions of the options that Typer adds itself.
DESCRIPTIONS = {
    "help": "show this help and exit",
    "install_completion": "install the completion of commands and options in the current shell",
    "show_completion": "print the completion script for the current shell",
}


class CommandHelp(TyperCommand):
    """A command whose help this module prints. Its epilog contains the examples: shell commands and comments."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the command line; in an error message, its control characters are escaped."""
        try:
            return super().make_context(*arguments, **options)
        except UsageError as error:
            error.message = visible(error.message)
            raise

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with switches that have a value."""
        return super().parse_args(ctx, with_switch_values(self.get_params(ctx), args))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help to stdout; the formatter's plain text stays empty."""
        screen = Screen(highlight=False)
        _print_head(screen, self.get_usage(ctx), " ".join((self.help or "").split()))
        for title, options in _panels(self.get_params(ctx)).items():
            _print_panel(screen, title, ((_names(option), _description(option)) for option in options))
        screen.print(_examples(self.epilog or ""), soft_wrap=True)
        screen.print(Text(FOOTER, style="dim"))


class RootHelp(TyperGroup):
    """The app, whose help lists the commands with the first sentence of each description."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help to stdout; the formatter's plain text stays empty."""
        screen = Screen(highlight=False)
        _print_head(screen, self.get_usage(ctx), self.help or "")
        commands = self.commands.items()
        _print_panel(screen, "Commands", ((Text(name, style="bold cyan"), _summary(one)) for name, one in commands))
        options = self.get_params(ctx)
        _print_panel(screen, "Options", ((_names(option), _description(option)) for option in options))
        screen.print(Text(ROOT_FOOTER, style="dim"))


def _print_head(screen: Console, usage: str, description: str) -> None:
    screen.print(Text(usage, style="bold"), Text(description), sep="\n\n")
    screen.print()


def _print_panel(screen: Console, title: str, entries: Iterable[tuple[Text, Text]]) -> None:
    body = Group(*(part for names, description in entries for part in _entry(names, description, screen.width - 4)))
    screen.print(Panel(body, title=title, title_align="left", border_style="dim"))


def _panels(options: list[Any]) -> dict[str, list[Any]]:
    """Return the visible options by panel, in the order of `PANELS`. The last panel is Output; it contains --help."""
    panels: dict[str, list[Any]] = defaultdict(list)
    for option in options:
        if not getattr(option, "hidden", False):
            panels[getattr(option, "rich_help_panel", None) or OUTPUT].append(option)
    order = {title: index for index, title in enumerate(PANELS)} | {OUTPUT: len(PANELS) + 1}
    return dict(sorted(panels.items(), key=lambda panel: order.get(panel[0], len(PANELS))))


def _entry(names: Text, description: Text, width: int) -> list[RenderableType]:
    """Return the two columns of an entry; names that are too long for the first column are on a line above."""
    column = NARROW_INDENT if width < NARROW_WIDTH else max(MIN_NAME_WIDTH, int(width * NAME_SHARE))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=column)
    grid.add_column(overflow="fold", ratio=1)
    if names.cell_len <= column:
        grid.add_row(names, description)
        return [grid]
    grid.add_row("", description)
    return [names, grid]


def _names(option: Any) -> Text:
    """Return the names of an option with its placeholder, `-o, --output FILE`, or the placeholder of an argument."""
    value = option.metavar or ""
    if option.param_type_name == "argument":
        return Text(value if option.nargs == 1 else f"{value}...", style="bold cyan")
    flags = sorted(option.opts, key=lambda name: name.startswith("--"))
    return Text.assemble((", ".join(flags), "bold cyan"), (f" {value}" if value else "", "yellow"))


def _description(option: Any) -> Text:
    """Return the description of an option, with its default dimmed."""
    description = Text(DESCRIPTIONS.get(option.name) or option.help or "")
    description.highlight_regex(DEFAULT_AT_END, style="dim")
    return description


def _summary(command: Any) -> Text:
    """Return the first paragraph of a command's description."""
    return Text(" ".join((command.help or "").split("\n\n")[0].split()))


def _examples(epilog: str) -> Text:
    """Return the examples, with comments dimmed."""
    lines = [
        (f"  {line}".rstrip() + "\n", "dim" if line.startswith("#") else "") for line in epilog.strip().splitlines()
    ]
    return Text.assemble(("Examples\n", "bold"), *lines)

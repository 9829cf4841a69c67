"""The one rich console: human words to stderr, results to stdout.

`--json` prints one JSON document to stdout, `--quiet` leaves only results and errors. Where stderr is no terminal a
progress bar becomes a plain line every so often.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_LINE_SECONDS = 10.0
_screen = Console(stderr=True, highlight=False)


def configure(*, quiet: bool = False) -> None:
    """Set what this process says; `quiet` silences everything but results and errors."""
    global _screen
    _screen = Console(stderr=True, highlight=False, quiet=quiet)


def plural(count: int, singular: str, plural: str = "") -> str:
    """Return the count and the noun in the matching form: "1 row", "2,000 rows", "2 queries"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def info(message: str, style: str | None = None) -> None:
    """One line for a human."""
    _screen.print(message, style=style, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """One line that a human should not miss; `--quiet` does not hide it."""
    Console(stderr=True, highlight=False).print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)


def error(message: str, hint: str = "") -> None:
    """An error and the next action, on stderr, also under `--quiet`."""
    screen = Console(stderr=True, highlight=False)
    screen.print(f"error: {message}", style="red", markup=False, soft_wrap=True)
    if hint:
        screen.print(f"  -> {hint}", markup=False, soft_wrap=True)


def panel(title: str, facts: dict[str, str], *below: RenderableType, border: str = "none") -> None:
    """A titled panel of name/value lines, and of what is drawn below them."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(name, Text(value))
    body = Group(grid, *below)
    _screen.print(Panel(body, title=Text(title), title_align="left", border_style=border, expand=False))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table whose first column is text and whose other columns are right-aligned."""
    info(title, "bold")
    drawn = Table()
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="right" if place else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    _screen.print(drawn)


def result(document: dict[str, Any], stream: TextIO | None = None) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(document, ensure_ascii=False, allow_nan=False), file=stream or sys.stdout, flush=True)


class Bar:
    """Progress of one piece of work: a live bar on a terminal, else a plain line every ten seconds."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.status = 0, ""
        self._start = self._last_line = time.monotonic()
        self._live: Progress | None = None
        if _screen.is_terminal and not _screen.quiet:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=_screen,
            )
            self._live.start()
            self._task = self._live.add_task(title, total=total, status="")

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self.done / max(time.monotonic() - self._start, 1e-9)

    def advance(self, amount: int = 1, status: str | None = None) -> None:
        """Record that `amount` more units are done; `status` replaces the words beside the bar."""
        self.done += amount
        self.status = f"{self.rate:,.0f} {self.unit}/s" if status is None else status
        if self._live is not None:
            self._live.update(self._task, completed=self.done, status=self.status)
        elif time.monotonic() - self._last_line >= PLAIN_LINE_SECONDS:
            self._last_line = time.monotonic()
            info(self._plain_line())

    def _plain_line(self) -> str:
        if self.total is None:
            return f"{self.title}: {self.done:,} {self.unit} ({self.status})"
        left = (self.total - self.done) / max(self.rate, 1e-9)
        return f"{self.title}: {self.done:,}/{self.total:,} {self.unit} ({self.status}, {left:,.0f} s left)"

    def close(self) -> None:
        """Take the bar down."""
        if self._live is not None:
            self._live.stop()


def progress(title: str, total: int | None, unit: str) -> AbstractContextManager[Bar]:
    """A `Bar` for the length of a with-block."""
    return closing(Bar(title, total, unit))


def progress_if(wanted: bool | str | Bar, title: str, total: int, unit: str) -> AbstractContextManager[Bar | None]:
    """The bar that is wanted for a with-block: none, one of its own (a name in place of `unit`), or one there is."""
    if not wanted or isinstance(wanted, Bar):
        return nullcontext(wanted or None)
    return progress(title, total, wanted if isinstance(wanted, str) else unit)

"""The one rich console: human words to stderr, results to stdout.

`--json` prints one JSON document to stdout, `--quiet` leaves only results and errors. Where stderr is no terminal a
progress bar becomes a plain line every so often.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_LINE_SECONDS = 10.0


@dataclass
class Output:
    """The state of the console for this process."""

    quiet: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))


_output = Output()


def configure(*, quiet: bool = False) -> None:
    """Set what this process says; `quiet` silences everything but results and errors."""
    _output.quiet = quiet
    _output.console = Console(stderr=True, highlight=False, quiet=quiet)


def console() -> Console:
    """The console on stderr."""
    return _output.console


def say(message: str) -> None:
    """One line for a human."""
    console().print(message, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """One line that a human should not miss; `--quiet` does not hide it."""
    Console(stderr=True, highlight=False).print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)


def error(message: str, hint: str = "") -> None:
    """An error and the next action, on stderr, also under `--quiet`."""
    screen = Console(stderr=True, highlight=False)
    screen.print(f"error: {message}", style="red", markup=False, soft_wrap=True)
    if hint:
        screen.print(f"  -> {hint}", markup=False, soft_wrap=True)


def panel(title: str, facts: dict[str, str]) -> None:
    """A titled panel of name/value lines."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(name, Text(value))
    console().print(Panel(grid, title=title, title_align="left", expand=False))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table whose first column is text and whose other columns are right-aligned."""
    console().print(title, style="bold", markup=False, soft_wrap=True)
    drawn = Table()
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="right" if place else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    console().print(drawn)


def result(document: dict[str, Any], stream: TextIO | None = None) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(document, ensure_ascii=False, allow_nan=False), file=stream or sys.stdout, flush=True)


class Bar:
    """Progress of one piece of work: a live bar on a terminal, else a plain line every ten seconds."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self.status = ""
        self._start = self._last_line = time.monotonic()
        self._live: Progress | None = None
        if console().is_terminal and not _output.quiet:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=console(),
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
            say(self._plain_line())

    def _plain_line(self) -> str:
        of = f"/{self.total:,}" if self.total is not None else ""
        left = f", {(self.total - self.done) / max(self.rate, 1e-9):,.0f} s left" if self.total is not None else ""
        return f"{self.title}: {self.done:,}{of} {self.unit} ({self.status}{left})"

    def close(self) -> None:
        """Take the bar down."""
        if self._live is not None:
            self._live.stop()


@contextmanager
def progress(title: str, total: int | None, unit: str) -> Iterator[Bar]:
    """A `Bar` for the length of a with-block."""
    bar = Bar(title, total, unit)
    try:
        yield bar
    finally:
        bar.close()


def progress_if(wanted: bool | str | Bar, title: str, total: int, unit: str) -> AbstractContextManager[Bar | None]:
    """The bar that is wanted for a with-block: none, one of its own (a name in place of `unit`), or one there is."""
    if not wanted or isinstance(wanted, Bar):
        return nullcontext(wanted or None)
    return progress(title, total, wanted if isinstance(wanted, str) else unit)

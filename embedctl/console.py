"""Console output: messages and progress to stderr, results to stdout.

`--json` prints one JSON object to stdout; `--quiet` prints only results, warnings and errors. If stderr is not a
terminal, a progress bar becomes a plain line every ten seconds. If the reader of a stream has left, as `head` does
after its last line, the rest of the stream is discarded and the command continues. Characters that the encoding of
stdout lacks are printed as escapes.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from contextlib import AbstractContextManager, closing, nullcontext
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from embedctl.credentials import masked

PLAIN_LINE_SECONDS = 10.0
# Characters that a terminal interprets or that change the order of the text around them: C0 and C1 controls except for
# tab and newline, line separators, directional marks, embeddings, overrides and isolates, and lone surrogates.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Screen(Console):
    """A rich console that discards its output after the reader has left; rich itself would end the process."""

    def on_broken_pipe(self) -> None:
        """Discard the rest of the output."""
        _discard(self.file)


def _discard(stream: IO[str]) -> None:
    """Send what a stream has not written yet, and all that follows, to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


_console: Console = Screen(stderr=True, highlight=False)


def configure(*, quiet: bool = False) -> None:
    """Set up the console of this process; with `quiet`, it prints only results, warnings and errors."""
    global _console
    _console = Screen(stderr=True, highlight=False, quiet=quiet)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as Python does for stderr


def plural(count: int, singular: str, plural: str = "") -> str:
    """Return the count and the noun in the matching form: "1 row", "2,000 rows", "2 queries"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def visible(text: str) -> str:
    r"""Return a text with its control characters as escapes such as \x1b, so that a terminal shows them only.

    All text that leaves the program passes through this function: messages, panels, tables, progress and results.
    """
    return CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _message(text: str) -> str:
    """Return a message as it is printed: credentials are masked, and control characters are escapes."""
    return visible(masked(text))


def info(message: str, style: str | None = None) -> None:
    """Print one line to stderr, unless `--quiet` is set."""
    _console.print(_message(message), style=style, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning to stderr, also with `--quiet`."""
    Screen(stderr=True, highlight=False).print(
        _message(f"warning: {message}"), style="yellow", markup=False, soft_wrap=True
    )


def error(message: str, hint: str = "") -> None:
    """Print an error and the next action to stderr, also with `--quiet`."""
    console = Screen(stderr=True, highlight=False)
    console.print(_message(f"error: {message}"), style="red", markup=False, soft_wrap=True)
    if hint:
        console.print(_message(f"  -> {hint}"), markup=False, soft_wrap=True)


def panel(title: str, facts: dict[str, str], *below: RenderableType, border: str = "none") -> None:
    """Print a panel to stderr: one line per name and value, then the renderables `below`."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(Text(visible(name)), Text(visible(value)))
    body = Group(grid, *below)
    _console.print(Panel(body, title=Text(visible(title)), title_align="left", border_style=border, expand=False))


def table(title: str, columns: list[str], rows: list[list[str]], *, is_result: bool = False) -> None:
    """Print a table, whose first column is left-aligned and the others right-aligned.

    A result is printed to stdout, also with `--quiet`; another table to stderr.
    """
    screen = Screen(highlight=False) if is_result else _console
    screen.print(_message(title), style="bold", markup=False, soft_wrap=True)
    grid = Table()
    for index, column in enumerate(columns):
        grid.add_column(Text(visible(column)), justify="right" if index else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(visible(cell)) for cell in row))
    screen.print(grid)


def output(text: str) -> None:
    """Print text that is the result of a command to stdout."""
    _print(visible(text))


def result(values: dict[str, Any]) -> None:
    """Print one JSON object to stdout; control characters in it are JSON escapes.

    So are all characters outside ASCII if the encoding of stdout may lack some of them.
    """
    is_unicode = getattr(sys.stdout, "encoding", "").lower().startswith("utf")
    text = json.dumps(values, ensure_ascii=not is_unicode, allow_nan=False)
    _print(CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard(sys.stdout)


class Bar:
    """Progress of one task: a live bar on a terminal, otherwise a plain line every ten seconds."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.status = 0, ""
        self._start = self._last_line = time.monotonic()
        self._live: Progress | None = None
        if _console.is_terminal and not _console.quiet:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=_console,
            )
            self._live.start()
            self._task = self._live.add_task(escape(visible(title)), total=total, status="")

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return self.done / max(time.monotonic() - self._start, 1e-9)

    def advance(self, amount: int = 1, status: str | None = None) -> None:
        """Add `amount` completed units; `status` is the text beside the bar, by default the rate."""
        self.done += amount
        self.status = f"{self.rate:,.0f} {self.unit}/s" if status is None else status
        if self._live is not None:
            self._live.update(self._task, completed=self.done, status=escape(visible(self.status)))
        elif time.monotonic() - self._last_line >= PLAIN_LINE_SECONDS:
            self._last_line = time.monotonic()
            info(self._plain_line())

    def _plain_line(self) -> str:
        if self.total is None:
            return f"{self.title}: {self.done:,} {self.unit} ({self.status})"
        left = (self.total - self.done) / max(self.rate, 1e-9)
        return f"{self.title}: {self.done:,}/{self.total:,} {self.unit} ({self.status}, {left:,.0f} s left)"

    def close(self) -> None:
        """Stop the live display."""
        if self._live is not None:
            self._live.stop()


def progress(title: str, total: int | None, unit: str) -> AbstractContextManager[Bar]:
    """Return a context manager that shows a new `Bar`."""
    return closing(Bar(title, total, unit))


def progress_if(show: bool | str | Bar, title: str, total: int, unit: str) -> AbstractContextManager[Bar | None]:
    """Return a context manager for an optional progress bar.

    `show` is False for no bar, True for a new bar, a string for a new bar with this unit, or the bar to use.
    """
    if not show or isinstance(show, Bar):
        return nullcontext(show or None)
    return progress(title, total, show if isinstance(show, str) else unit)

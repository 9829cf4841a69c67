"""Validate one data file: errors, warnings and statistics, in one pass and in constant memory.

Rows with errors are left out of the statistics. Texts are compared exactly: a difference of one space makes two texts.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from embedctl.console import Bar
from embedctl.data.checker import Checker, Finding
from embedctl.data.crosscheck import CrossCheck
from embedctl.data.rows import EXAMPLE_ROW
from embedctl.data.statistics import Statistics, TextLengths, TokenCounter
from embedctl.errors import DataError
from embedctl.reading.json_values import Problem

MEGABYTE = 1_000_000


class ReportStats(TextLengths):
    """Counts of a report. They include the errors and warnings that the report does not list."""

    errors: int
    warnings: int
    error_counts: dict[str, int]  # code to number of errors
    warning_counts: dict[str, int]  # code to number of warnings
    prompted: int  # rows with their own prompt
    duplicate_queries: int  # queries that also occur in an earlier row
    duplicate_texts: int  # passages that also occur earlier in the file


class Report(TypedDict):
    """The result of `validate-data` for one file. The keys are those of `--json`."""

    path: str
    rows: int  # rows without errors
    kinds: dict[str, int]  # kind of row to number of rows
    errors: list[Finding]
    warnings: list[Finding]
    stats: ReportStats


def validate(path: str, neg_nums: int, max_listed: int, tokens: TokenCounter | None, bar: Bar) -> Report:
    """Check one file and return its report.

    The path `-` is stdin. A row with fewer than `neg_nums` negatives gets a warning. All errors and warnings are
    counted, and at most `max_listed` of each are listed. Without `tokens`, lengths are in characters only. The progress
    of `bar` is in megabytes read.

    Raises:
        DataError: the file cannot be opened, or there is no disk space for the hashes.
    """
    checker, statistics = Checker(path, neg_nums, max_listed), Statistics(tokens)
    with tempfile.TemporaryDirectory(prefix="embedctl-") as folder, _no_automatic_garbage_collection():
        try:
            cross_check = CrossCheck(Path(folder))
            _read(checker, statistics, cross_check, bar)
            for location, warning in cross_check.warnings():
                checker.add_warning(*location, warning)
            duplicate_texts = cross_check.count_duplicate_texts()
        except OSError as cause:
            hint = "set the environment variable TMPDIR to a folder with more space: 32 bytes per text are needed"
            raise DataError(f"{tempfile.gettempdir()}: temporary files cannot be written: {cause}", hint) from cause
    if not statistics.kinds and not checker.errors.total:
        message = f"the file has no rows. Write one JSON object per line, such as {EXAMPLE_ROW}"
        checker.errors.add(1, Problem("file", "no-rows", message))
    return _report(checker, statistics, duplicate_texts)


def _read(checker: Checker, statistics: Statistics, cross_check: CrossCheck, bar: Bar) -> None:
    """Read the file once, block by block."""
    bytes_read = 0
    for rows, size in checker.blocks():
        cross_check.add(rows)
        statistics.add(rows)
        del rows  # so that only one block is in memory when the next one is read
        gc.collect(0)
        bytes_read += size
        bar.advance(-(-bytes_read // MEGABYTE) - bar.done)


def _report(checker: Checker, statistics: Statistics, duplicate_texts: int) -> Report:
    """Return the report of a file that was read completely."""
    errors, warnings = checker.errors, checker.warnings
    stats: ReportStats = {
        "errors": errors.total,
        "warnings": warnings.total,
        "error_counts": dict(errors.counts),
        "warning_counts": dict(warnings.counts),
        "prompted": statistics.prompted,
        "duplicate_queries": warnings.counts["duplicate-query"],
        "duplicate_texts": duplicate_texts,
        **statistics.lengths(),
    }
    return {
        "path": checker.path,
        "rows": statistics.kinds.total(),
        "kinds": dict(statistics.kinds),
        "errors": errors.listed(),
        "warnings": warnings.listed(),
        "stats": stats,
    }


@contextlib.contextmanager
def _no_automatic_garbage_collection() -> Iterator[None]:
    """Disable the automatic garbage collection, which takes a tenth of the time; `_read` collects after each block.

    Python starts it whenever many lists and dicts were created, and parsing rows creates many.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

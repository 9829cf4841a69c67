"""What is wrong with a data file, what is odd about it, and what is in it: one pass, in memory that does not grow.

Errors make rows unusable; warnings are what a person would want to know. Rows with errors count in no statistics.
Texts are taken as they stand: two that differ in a space are two.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedctl.console import Bar
from embedctl.data.checker import Checker
from embedctl.data.crosscheck import CrossCheck
from embedctl.data.statistics import Statistics, TokenCount
from embedctl.errors import DataError
from embedctl.reading.documents import Problem

MEGABYTE = 1_000_000


def validate(path: str, neg_nums: int, keep: int, tokens: TokenCount | None, bar: Bar) -> dict[str, Any]:
    """Look at one file.

    Args:
        path: of the file; `-` is stdin.
        neg_nums: a row with fewer negatives gets a warning.
        keep: errors, and warnings, that are listed; all are counted.
        tokens: counts tokens; None for characters only.
        bar: advances with the megabytes read.

    Returns:
        path, rows, kinds, errors, warnings and stats, as `--json` prints them.

    Raises:
        DataError: the file can't be opened, or there is no space for its hashes.
    """
    checker, statistics = Checker(path, neg_nums, keep), Statistics(tokens)
    with tempfile.TemporaryDirectory(prefix="embedctl-") as folder, _collector_by_hand():
        try:
            across = CrossCheck(Path(folder))
            _read(checker, statistics, across, bar)
            for place, fault in across.warnings():
                checker.warn(*place, fault)
            repeated_texts = across.repeated_texts()
        except OSError as cause:
            hint = "32 bytes a text are needed: set TMPDIR to a folder with more space"
            raise DataError(f"{tempfile.gettempdir()}: can't be written: {cause}", hint) from cause
    if not statistics.kinds and not checker.errors.total:
        checker.errors.add(1, Problem("file", "no-rows", "the file has no rows"))
    return _report(checker, statistics, repeated_texts)


def _read(checker: Checker, statistics: Statistics, across: CrossCheck, bar: Bar) -> None:
    """Read the file once, a block of rows at a time."""
    done = 0
    for rows, size in checker.blocks():
        across.add(rows)
        statistics.add(rows)
        del rows  # before the next block is read
        gc.collect(0)
        done += size
        bar.advance(-(-done // MEGABYTE) - bar.done)


def _report(checker: Checker, statistics: Statistics, repeated_texts: int) -> dict[str, Any]:
    """The file's part of the document of `--json`."""
    errors, warnings = checker.errors, checker.warnings
    stats = {
        "errors": errors.total,
        "warnings": warnings.total,
        "error_counts": dict(errors.counts),
        "warning_counts": dict(warnings.counts),
        "prompted": statistics.prompted,
        "duplicate_queries": warnings.counts["duplicate-query"],
        "duplicate_texts": repeated_texts,
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
def _collector_by_hand() -> Iterator[None]:
    """Python searches for cycles when there are many new lists and dicts: for rows that is a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

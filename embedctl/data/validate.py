"""What is wrong with a data file, what is odd about it, and what is in it: one pass, in memory that does not grow.

Errors make rows unusable; warnings are what a person would want to know. Rows with errors count in no statistics.
Texts are taken as they stand: two that differ in a space are two.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from embedctl.console import Bar
from embedctl.data.columns import Columns, clean_texts
from embedctl.data.crosscheck import CrossCheck
from embedctl.data.damage import find_damage, may_be_damaged
from embedctl.data.findings import Findings
from embedctl.data.lengths import Lengths, TokenCount
from embedctl.data.rows import Row, RowKind, check, to_row
from embedctl.errors import DataError
from embedctl.reading.documents import Document, Elements, Fault, Lines, pieces

WARNING_CODES = {"blank-line"}
FIELDS = ("query", "pos", "neg")
BLOCK_BYTES = 1 << 22
LINES_AT_ONCE = 1000  # one odd line makes so many slow
MEGABYTE = 1_000_000


class Validator:
    """Looks at the rows of one file.

    Args:
        path: of the file.
        neg_nums: a row with fewer negatives gets a warning.
        keep: errors, and warnings, that are listed.
        tokens: counts tokens; None for characters only.
        folder: for hashes; the caller removes it.
    """

    def __init__(self, path: str, neg_nums: int, keep: int, tokens: TokenCount | None, folder: Path) -> None:
        self.path, self.neg_nums, self.tokens = path, neg_nums, tokens
        self.errors, self.warnings = Findings(keep), Findings(keep)
        self.kinds: Counter[str] = Counter()
        self.prompted, self.repeated_texts = 0, 0
        self.characters = {name: Lengths() for name in FIELDS}
        self.token_lengths = {name: Lengths() for name in FIELDS}
        self._across = CrossCheck(folder)
        self._block = Columns()
        self._block_bytes, self._bytes = 0, 0
        self._number, self._last_line = 0, 0
        self._lines_are_shared = False

    def run(self, bar: Bar) -> dict[str, Any]:
        """Read the file; returns its part of the document of `--json`."""
        for piece in pieces(self.path):
            if isinstance(piece, Document):
                self._look_at(piece)
            else:
                for lines in piece.cut(LINES_AT_ONCE):
                    self._look_at_lines(lines)
            if self._block_bytes >= BLOCK_BYTES:
                self._flush(bar)
        self._flush(bar)
        self._look_across()
        if not self.kinds and not self.errors.total:
            self.errors.add(1, Fault("file", "no-rows", "the file has no rows"))
        return self.document()

    def _look_at_lines(self, lines: Lines) -> None:
        """Look at all of them together if they are clean, else at one after the other."""
        shared = isinstance(lines, Elements) and len({self._last_line, *lines.numbers}) <= len(lines.numbers)
        self._lines_are_shared |= shared
        self._last_line = lines.numbers[-1]
        texts = clean_texts(lines.raw)
        if texts is None:
            for document in lines.documents():
                self._look_at(document)
            return
        numbers = range(self._number, self._number + len(lines.raw))
        counts = np.frombuffer(texts.neg.counts, dtype=np.int64)
        few = np.flatnonzero(counts < self.neg_nums)
        for place in few[: self.warnings.limit].tolist():
            fault = self._placed(few_negatives(int(counts[place]), self.neg_nums), numbers[place])
            self.warnings.add(lines.numbers[place], fault, numbers[place])
        self.warnings.count("few-negatives", len(few[self.warnings.limit :]))
        hard = int(np.count_nonzero(counts))
        self.kinds += Counter({RowKind.HARD.value: hard, RowKind.IN_BATCH.value: len(numbers) - hard})
        self._block.extend(lines.numbers, numbers, texts, repeat(None, len(numbers)))
        self._block_bytes += sum(map(len, lines.raw))
        self._number = numbers.stop

    def _look_at(self, document: Document) -> None:
        """Look at one row, or say what stands in its place."""
        number = self._number
        self._block_bytes += len(document.raw)
        self._number += document.fault is None or document.fault.field != "file"
        if document.fault is not None:
            findings = self.warnings if document.fault.code in WARNING_CODES else self.errors
            findings.add(document.line, document.fault, number)
            return
        faults = check(document.value)
        for fault in faults:
            self.errors.add(document.line, self._placed(fault, number), number)
        if faults:
            return
        row = to_row(document.value)
        self.kinds[row.kind.value] += 1
        self.prompted += row.prompt is not None
        self._block.add(document.line, number, row)
        damaged = find_damage(row) if may_be_damaged(document.raw) else []
        for fault in (*find_oddities(row, self.neg_nums), *damaged):
            self.warnings.add(document.line, self._placed(fault, number), number)

    def _placed(self, fault: Fault, number: int) -> Fault:
        """The fault as it stands where a line number does not say which row is meant."""
        if not self._lines_are_shared:
            return fault
        return Fault(f"[{number}].{fault.field}", fault.code, fault.message)

    def _flush(self, bar: Bar) -> None:
        """Hash and measure the rows gathered so far."""
        block, self._block = self._block, Columns()
        self._across.add(block)
        for name, texts in (("query", block.queries), ("pos", block.pos.texts), ("neg", block.neg.texts)):
            self.characters[name].add(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
            if self.tokens is not None and texts:
                seen = texts
                if name == "query":
                    seen = [(prompt or "") + text for prompt, text in zip(block.prompts, texts, strict=True)]
                self.token_lengths[name].add(self.tokens.count(seen))
        self._bytes += self._block_bytes
        bar.advance(-(-self._bytes // MEGABYTE) - bar.done)
        self._block_bytes = 0
        del block
        gc.collect(0)

    def _look_across(self) -> None:
        for (line, number), first in self._across.repeated_queries():
            message = f"the query of line {first} again"
            self.warnings.add(line, self._placed(Fault("query", "duplicate-query", message), number), number)
        for (line, number), other in self._across.contradictions():
            message = f"a negative is a positive of the same query on line {other}"
            self.warnings.add(line, self._placed(Fault("neg", "positive-is-negative", message), number), number)
        self.repeated_texts = self._across.repeated_texts()

    def document(self) -> dict[str, Any]:
        """The file's part of `--json`."""
        stats: dict[str, Any] = {
            "errors": self.errors.total,
            "warnings": self.warnings.total,
            "error_counts": dict(self.errors.counts),
            "warning_counts": dict(self.warnings.counts),
            "prompted": self.prompted,
            "duplicate_queries": self.warnings.counts["duplicate-query"],
            "duplicate_texts": self.repeated_texts,
            "characters": {name: lengths.summary() for name, lengths in self.characters.items()},
        }
        if self.tokens is not None:
            stats["tokens"] = {name: self.tokens.summary(name, seen) for name, seen in self.token_lengths.items()}
        return {
            "path": self.path,
            "rows": self.kinds.total(),
            "kinds": dict(self.kinds),
            "errors": self.errors.listed(),
            "warnings": self.warnings.listed(),
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


def find_oddities(row: Row, neg_nums: int) -> list[Fault]:
    """What is odd about a row taken by itself."""
    faults = []
    if len(row.neg) < neg_nums and not row.scores:
        faults.append(few_negatives(len(row.neg), neg_nums))
    if row.query in row.pos:
        faults.append(Fault(f"pos[{row.pos.index(row.query)}]", "query-is-positive", "the query itself"))
    distinct = set(row.neg)
    if not distinct.isdisjoint(row.pos):
        place = next(place for place, text in enumerate(row.neg) if text in row.pos)
        message = f"the same text as pos[{row.pos.index(row.neg[place])}]"
        faults.append(Fault(f"neg[{place}]", "positive-is-negative", message))
    if len(distinct) < len(row.neg):
        faults += _repeated("neg", row.neg)
    if len(row.pos) > 1:
        faults += _repeated("pos", row.pos)
    return faults


def few_negatives(there: int, wanted: int) -> Fault:
    """The warning of a row with fewer negatives than a query takes."""
    what = f"{there} of {wanted} negatives: some are drawn twice" if there else "has no negatives"
    return Fault("neg", "few-negatives", what)


def _repeated(name: str, texts: Sequence[str]) -> Iterator[Fault]:
    """The first text of a list that it holds already."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        if first.setdefault(text, place) != place:
            yield Fault(f"{name}[{place}]", "duplicate-text", f"the same text as {name}[{first[text]}]")
            return


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
    with tempfile.TemporaryDirectory(prefix="embedctl-") as folder, _collector_by_hand():
        try:
            return Validator(path, neg_nums, keep, tokens, Path(folder)).run(bar)
        except OSError as cause:
            hint = "32 bytes a text are needed: set TMPDIR to a folder with more space"
            raise DataError(f"{tempfile.gettempdir()}: can't be written: {cause}", hint) from cause

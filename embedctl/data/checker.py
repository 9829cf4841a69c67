"""Checking the rows of a file one after the other, or many at once where nothing is wrong with them."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain, zip_longest
from operator import itemgetter
from typing import Any

import numpy as np

from embedctl.data.columns import Columns, clean_texts
from embedctl.data.oddities import few_negatives, find_damage, find_oddities, may_be_damaged
from embedctl.data.rows import check, to_row
from embedctl.reading.documents import Document, Elements, Lines, Problem, pieces

WARNING_CODES = {"blank-line"}
BLOCK_BYTES = 1 << 22
LINES_AT_ONCE = 1000  # one odd line makes so many slow
Place = tuple[int, int, int]  # line, number of the row (rows of an array may share a line), count of faults before


class Findings:
    """Faults of one severity: all are counted, at most `limit` of each code are kept to be listed."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.total = 0
        self._kept: dict[str, list[tuple[Place, Problem]]] = defaultdict(list)

    def add(self, line: int, fault: Problem, row: int = 0) -> None:
        """Count a fault, and keep it if it is among the first of its code by line and number of the row."""
        place, kept = (line, row, self.total), self._kept[fault.code]
        self.counts[fault.code] += 1
        self.total += 1
        if len(kept) < self.limit or (kept and place < kept[-1][0]):
            insort(kept, (place, fault), key=itemgetter(0))
            del kept[self.limit :]

    def count(self, code: str, more: int) -> None:
        """Count faults of a code that come too late to be kept."""
        if more:
            self.counts[code] += more
            self.total += more

    def listed(self) -> list[dict[str, Any]]:
        """At most `limit` findings by line, each code in turn, so that a frequent one does not hide a rare one."""
        turns = chain.from_iterable(zip_longest(*self._kept.values()))
        chosen = [finding for finding in turns if finding][: self.limit]
        return [
            {"line": line, "field": fault.field, "code": fault.code, "message": fault.message}
            for (line, _, _), fault in sorted(chosen, key=itemgetter(0))
        ]


class Checker:
    """Reads the rows of one file: valid ones are returned in blocks, faults are kept as errors and warnings.

    Args: see `validate`.
    """

    def __init__(self, path: str, neg_nums: int, keep: int) -> None:
        self.path, self.neg_nums = path, neg_nums
        self.errors, self.warnings = Findings(keep), Findings(keep)
        self._number, self._last_line = 0, 0
        self._lines_are_shared = False

    def blocks(self) -> Iterator[tuple[Columns, int]]:
        """The valid rows, a few megabytes at a time, and how many bytes of the file were read for them."""
        block, size = Columns(), 0
        for piece in pieces(self.path):
            if isinstance(piece, Document):
                self._check(piece, block)
                size += len(piece.raw)
            else:
                for lines in piece.cut(LINES_AT_ONCE):
                    self._check_lines(lines, block)
                    size += sum(map(len, lines.raw))
            if size >= BLOCK_BYTES:
                yield block, size
                block, size = Columns(), 0
        yield block, size

    def warn(self, line: int, number: int, fault: Problem) -> None:
        """Add a warning about the row of this number."""
        self.warnings.add(line, self._placed(fault, number), number)

    def _check_lines(self, lines: Lines, block: Columns) -> None:
        """Check all of them at once if they are clean, else one after the other."""
        if isinstance(lines, Elements):
            self._lines_are_shared |= len({self._last_line, *lines.numbers}) <= len(lines.numbers)
            self._last_line = lines.numbers[-1]
        texts = clean_texts(lines.raw)
        if texts is None:
            for document in lines.documents():
                self._check(document, block)
            return
        numbers = range(self._number, self._number + len(lines.raw))
        self._number = numbers.stop
        block.add_clean(lines.numbers, numbers, texts)
        counts = np.frombuffer(texts.neg.counts, dtype=np.int64)
        few = np.flatnonzero(counts < self.neg_nums)
        for place in few[: self.warnings.limit].tolist():
            self.warn(lines.numbers[place], numbers[place], few_negatives(int(counts[place]), self.neg_nums))
        self.warnings.count("few-negatives", len(few[self.warnings.limit :]))

    def _check(self, document: Document, block: Columns) -> None:
        """Check one row, or say what stands in its place."""
        line, number, fault = document.line, self._number, document.fault
        self._number += fault is None or fault.field != "file"
        if fault is not None:
            (self.warnings if fault.code in WARNING_CODES else self.errors).add(line, fault, number)
            return
        faults = check(document.value)
        for fault in faults:
            self.errors.add(line, self._placed(fault, number), number)
        if faults:
            return
        row = to_row(document.value)
        block.add(line, number, row)
        for fault in find_oddities(row, self.neg_nums):
            self.warn(line, number, fault)
        if not document.raw or may_be_damaged(document.raw):
            for fault in find_damage(row):
                self.warn(line, number, fault)

    def _placed(self, fault: Problem, number: int) -> Problem:
        """The fault as it stands where a line number does not say which row is meant."""
        if not self._lines_are_shared:
            return fault
        return Problem(f"[{number}].{fault.field}", fault.code, fault.message)

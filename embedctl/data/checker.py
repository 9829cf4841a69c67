"""Check the rows of one file: many lines per call if their rows are clean, else one row after the other."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain, zip_longest
from operator import itemgetter
from typing import TypedDict

import numpy as np

from embedctl.data.columns import Columns, parse_clean_rows
from embedctl.data.row_warnings import few_negatives, find_encoding_damage, find_warnings, may_have_encoding_damage
from embedctl.data.rows import find_errors, to_row
from embedctl.reading.json_values import ArrayElements, JsonValue, Lines, Problem, read_blocks

BLOCK_BYTES = 1 << 22
# Lines per call of `parse_clean_rows`. If one of them is not a clean row, all of them take the slow path.
FAST_PATH_LINES = 1000
SortKey = tuple[int, int, int]  # line, index of the row (rows of an array can share a line), order of discovery


class Finding(TypedDict):
    """One error or warning of a report, with its place. The keys are those of `--json`."""

    line: int
    field: str
    code: str
    message: str


class Findings:
    """The errors or the warnings of a file. All are counted; the first `limit` per code are kept for the report."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.total = 0
        self._kept: dict[str, list[tuple[SortKey, Problem]]] = defaultdict(list)

    def add(self, line: int, problem: Problem, index: int = 0) -> None:
        """Count a problem, and keep it if it is among the first ones of its code by line and index of the row."""
        key, kept = (line, index, self.total), self._kept[problem.code]
        self.counts[problem.code] += 1
        self.total += 1
        if len(kept) < self.limit or (kept and key < kept[-1][0]):
            insort(kept, (key, problem), key=itemgetter(0))
            del kept[self.limit :]

    def count(self, code: str, count: int) -> None:
        """Count problems that come after `limit` other problems of this code, so that they would not be kept."""
        if count:
            self.counts[code] += count
            self.total += count

    def listed(self) -> list[Finding]:
        """Return at most `limit` problems, sorted by line.

        They are taken from the codes in turn (round robin), so that a frequent code does not hide a rare one.
        """
        round_robin = chain.from_iterable(zip_longest(*self._kept.values()))
        chosen = [kept for kept in round_robin if kept][: self.limit]
        return [
            Finding(line=line, field=problem.field, code=problem.code, message=problem.message)
            for (line, _, _), problem in sorted(chosen, key=itemgetter(0))
        ]


class Checker:
    """Reads one file, yields its valid rows in blocks, and collects its errors and warnings.

    The arguments are those of `embedctl.data.validate.validate`.
    """

    def __init__(self, path: str, neg_nums: int, max_listed: int) -> None:
        self.path, self.neg_nums = path, neg_nums
        self.errors, self.warnings = Findings(max_listed), Findings(max_listed)
        self._next_index, self._last_line = 0, 0
        self._rows_share_lines = False

    def blocks(self) -> Iterator[tuple[Columns, int]]:
        """Yield the valid rows in blocks of a few megabytes, each with the number of bytes that were read for it."""
        block, size = Columns(), 0
        for item in read_blocks(self.path):
            if isinstance(item, JsonValue):
                self._check_row(item, block)
                size += len(item.raw)
            else:
                for lines in item.split(FAST_PATH_LINES):
                    self._check_lines(lines, block)
                    size += sum(map(len, lines.raw))
            if size >= BLOCK_BYTES:
                yield block, size
                block, size = Columns(), 0
        yield block, size

    def add_warning(self, line: int, index: int, problem: Problem) -> None:
        """Add a warning about the row with this line and index."""
        self.warnings.add(line, self._with_row_index(problem, index), index)

    def _check_lines(self, lines: Lines, block: Columns) -> None:
        """Check the lines with the fast path if all their rows are clean, else row by row.

        Both ways give the same report: a clean row has no errors, and its only possible warning is `few-negatives`,
        which is added here for the first rows and counted for the others.
        """
        if isinstance(lines, ArrayElements):
            # Two elements can begin on the same line, also the last one of the previous call and the first one here.
            self._rows_share_lines |= len({self._last_line, *lines.numbers}) <= len(lines.numbers)
            self._last_line = lines.numbers[-1]
        texts = parse_clean_rows(lines.raw)
        if texts is None:
            for value in lines.parse():
                self._check_row(value, block)
            return
        indices = range(self._next_index, self._next_index + len(lines.raw))
        self._next_index = indices.stop
        block.add_clean_rows(lines.numbers, indices, texts)
        counts = np.frombuffer(texts.neg.counts, dtype=np.int64)
        few = np.flatnonzero(counts < self.neg_nums)
        for row in few[: self.warnings.limit].tolist():
            self.add_warning(lines.numbers[row], indices[row], few_negatives(int(counts[row]), self.neg_nums))
        self.warnings.count("few-negatives", len(few[self.warnings.limit :]))

    def _check_row(self, value: JsonValue, block: Columns) -> None:
        """Check one row, or record the problem that the reader found in its place."""
        line, index, problem = value.line, self._next_index, value.problem
        self._next_index += problem is None or problem.field != "file"
        if problem is not None:
            (self.warnings if problem.code == "blank-line" else self.errors).add(line, problem, index)
            return
        errors = find_errors(value.value)
        for error in errors:
            self.errors.add(line, self._with_row_index(error, index), index)
        if errors:
            return
        row = to_row(value.value)
        block.add(line, index, row)
        for warning in find_warnings(row, self.neg_nums):
            self.add_warning(line, index, warning)
        if not value.raw or may_have_encoding_damage(value.raw):
            for warning in find_encoding_damage(row):
                self.add_warning(line, index, warning)

    def _with_row_index(self, problem: Problem, index: int) -> Problem:
        """Prepend the row's index to the field if several rows share a line, because the line is ambiguous then."""
        if not self._rows_share_lines:
            return problem
        return Problem(f"[{index}].{problem.field}", problem.code, problem.message)

"""Duplicate queries and passages of a file, and negatives that are positives of the same query in another row.

Texts are compared by 64-bit hashes on disk: 32 bytes per passage and 24 bytes per query. For a file with a
billion texts, the probability that two different texts have the same hash is about 1/40.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedctl.data.columns import Columns
from embedctl.distributed.random import random_bits
from embedctl.reading.hashes import Hashes, HashPartitions
from embedctl.reading.json_values import Problem

RowLocation = tuple[int, int]  # line, and index of the row in the file: rows of an array can share a line
POSITIVE, NEGATIVE = 0, 1


class CrossCheck:
    """Compares the texts of all rows of a file by their hashes.

    Call `add` for all rows first. Each of the other methods can be called once, because it deletes its hashes. The
    hashes are in `folder`, which the caller removes.
    """

    def __init__(self, folder: Path) -> None:
        self._texts = HashPartitions(folder / "texts")
        self._queries = HashPartitions(folder / "queries", 3)  # hash of the query, line, index of the row
        self._pairs = HashPartitions(folder / "pairs", 3)  # hash of query and passage, line, 2 * index + role

    def add(self, rows: Columns) -> None:
        """Add the hashes of some rows."""
        line, index = (np.frombuffer(column, dtype=np.uint64) for column in (rows.lines, rows.indices))
        queries = _hashes(rows.queries)
        self._queries.add(np.column_stack([queries, line, index]))
        for role, lists in ((POSITIVE, rows.pos), (NEGATIVE, rows.neg)):
            if lists.texts:
                texts = _hashes(lists.texts)
                row = np.repeat(np.arange(len(queries)), np.frombuffer(lists.counts, dtype=np.int64))
                self._texts.add(texts)
                pairs = random_bits(queries[row], texts)
                self._pairs.add(np.column_stack([pairs, line[row], index[row] * 2 + role]))

    def warnings(self) -> Iterator[tuple[RowLocation, Problem]]:
        """Yield the warnings, each with the location of its row."""
        for location, line in self.duplicate_queries():
            message = f"line {line} has the same query. Merge the two rows or delete one of them"
            yield location, Problem("query", "duplicate-query", message)
        found = set()  # two negatives of a row can be positives of the same line
        for location, line in self.negatives_that_are_positives():
            if (location, line) in found:
                continue
            found.add((location, line))
            fix = f"Remove the text from `neg` of this row or from `pos` of line {line}"
            message = f"line {line} lists a negative of this row as a positive of the same query. {fix}"
            yield location, Problem("neg", "positive-is-negative", message)

    def duplicate_queries(self) -> Iterator[tuple[RowLocation, int]]:
        """Yield the location of each row whose query occurs in an earlier row, and the line of its first occurrence."""
        for part in self._queries.sorted_duplicates():
            index = np.arange(len(part))
            first = np.maximum.accumulate(np.where(_differs_from_previous(part[:, 0]), index, 0))
            for duplicate in np.flatnonzero(first != index):
                yield (int(part[duplicate, 1]), int(part[duplicate, 2])), int(part[first[duplicate], 1])

    def count_duplicate_texts(self) -> int:
        """Return the number of passages that also occur earlier in the file: in the same row or in an earlier one."""
        parts = self._texts.sorted_duplicates()
        return sum(len(part) - int(_differs_from_previous(part[:, 0]).sum()) for part in parts)

    def negatives_that_are_positives(self) -> Iterator[tuple[RowLocation, int]]:
        """Yield each negative (its location) that another row with the same query lists as a positive, and that line.

        Positives of the same row are not considered here: `find_warnings` compares the texts within a row.
        """
        for part in self._pairs.sorted_duplicates():
            row, is_negative = part[:, 2] >> np.uint64(1), (part[:, 2] & np.uint64(1)).astype(bool)
            positives, positive_row = part[~is_negative], row[~is_negative]
            negatives, negative_row = part[is_negative], row[is_negative]
            # Hashes are sorted, so the positives with the hash of a negative are one slice of the positives.
            start, end = (np.searchsorted(positives[:, 0], negatives[:, 0], side=side) for side in ("left", "right"))
            for index in np.flatnonzero(end > start):
                others = np.flatnonzero(positive_row[start[index] : end[index]] != negative_row[index])
                if len(others):
                    line = int(positives[start[index] + others[0], 1])
                    yield (int(negatives[index, 1]), int(negative_row[index])), line


def _hashes(texts: list[str]) -> Hashes:
    """Return hashes (N,) by Python's `hash`, which is fast. They differ between processes; only this one uses them."""
    return np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts)).view(np.uint64)


def _differs_from_previous(values: Hashes) -> NDArray[np.bool_]:
    """Return (n,) whether each value differs from the previous one; True for the first value."""
    return np.concatenate([[True], values[1:] != values[:-1]])

"""What only all rows of a file together show: queries and texts that repeat, negatives that are positives elsewhere.

Texts are compared by 64-bit hashes that lie on the disk: 32 bytes a passage, 24 a query. Among a billion texts, two
different ones share a hash once in some forty files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedctl.data.columns import Columns
from embedctl.distributed.random import mix
from embedctl.reading.documents import Problem
from embedctl.reading.hashes import Hashes, HashParts

Place = tuple[int, int]
POSITIVE, NEGATIVE = 0, 1


class CrossCheck:
    """Gathers the rows' hashes, then compares them; each question can be asked once, after the last row.

    A row's place is its line and its number in the file: rows of an array may stand on one line. The hashes lie in
    `folder`, which the caller removes.
    """

    def __init__(self, folder: Path) -> None:
        self._texts = HashParts(folder / "texts")
        self._queries = HashParts(folder / "queries", 3)
        self._pairs = HashParts(folder / "pairs", 3)

    def add(self, rows: Columns) -> None:
        """Add some rows."""
        line_of, number_of = (np.frombuffer(of, dtype=np.uint64) for of in (rows.lines, rows.numbers))
        queries = _hashes(rows.queries)
        self._queries.add(np.column_stack([queries, line_of, number_of]))
        for role, lists in ((POSITIVE, rows.pos), (NEGATIVE, rows.neg)):
            if lists.texts:
                texts = _hashes(lists.texts)
                owner = np.repeat(np.arange(len(queries)), np.frombuffer(lists.counts, dtype=np.int64))
                self._texts.add(texts)
                pairs = mix(queries[owner], texts)
                self._pairs.add(np.column_stack([pairs, line_of[owner], number_of[owner] * 2 + role]))

    def warnings(self) -> Iterator[tuple[Place, Problem]]:
        """What is odd about a row beside others, and the place of the row."""
        for place, line in self.repeated_queries():
            yield place, Problem("query", "duplicate-query", f"the query of line {line} again")
        for place, line in self.contradictions():
            message = f"a negative is a positive of the same query on line {line}"
            yield place, Problem("neg", "positive-is-negative", message)

    def repeated_queries(self) -> Iterator[tuple[Place, int]]:
        """The place of each row whose query an earlier row has, and the line of the first that has it."""
        for part in self._queries.repeated_parts():
            first = np.maximum.accumulate(np.where(_differs_from_last(part[:, 0]), np.arange(len(part)), 0))
            for again in np.flatnonzero(first != np.arange(len(part))):
                yield (int(part[again, 1]), int(part[again, 2])), int(part[first[again], 1])

    def repeated_texts(self) -> int:
        """Passages that stand in the file already, in this row or an earlier one."""
        return sum(len(part) - int(_differs_from_last(part[:, 0]).sum()) for part in self._texts.repeated_parts())

    def contradictions(self) -> Iterator[tuple[Place, int]]:
        """The place of each negative that is a positive of another row with the same query, and that row's line."""
        for part in self._pairs.repeated_parts():
            number, negative = part[:, 2] >> np.uint64(1), (part[:, 2] & np.uint64(1)).astype(bool)
            positives, owners = part[~negative], number[~negative]
            asked, askers = part[negative], number[negative]
            low, high = (np.searchsorted(positives[:, 0], asked[:, 0], side=side) for side in ("left", "right"))
            for place in np.flatnonzero(high > low):
                others = np.flatnonzero(owners[low[place] : high[place]] != askers[place])
                if len(others):
                    line = int(positives[low[place] + others[0], 1])
                    yield (int(asked[place, 1]), int(askers[place])), line


def _hashes(texts: list[str]) -> Hashes:
    """Python's own hashes: fast, and the same within a process, which is all that is asked here."""
    return np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts)).view(np.uint64)


def _differs_from_last(values: Hashes) -> NDArray[np.bool_]:
    """(n,) where a value differs from the one before it; the first does."""
    return np.concatenate([[True], values[1:] != values[:-1]])

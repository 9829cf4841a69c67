"""What was found in a file: every fault counted, a few of each code kept to be shown."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from itertools import chain, zip_longest
from operator import itemgetter
from typing import Any

from embedctl.reading.documents import Fault

Place = tuple[int, int, int]  # line, number of the row (rows of an array may share a line), count of faults before


class Findings:
    """Faults of one severity, in memory that does not grow with their number.

    Args:
        limit: findings that `listed` gives.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.total = 0
        self._kept: dict[str, list[tuple[Place, Fault]]] = defaultdict(list)

    def add(self, line: int, fault: Fault, row: int = 0) -> None:
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

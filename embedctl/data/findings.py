"""What was found in a file: every fault counted, a few of each code kept to be shown."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from itertools import chain, zip_longest
from typing import Any

from embedctl.data.rows import Fault

Finding = tuple[int, int, Fault]


class Findings:
    """Faults of one severity, in memory that does not grow with their number.

    Args:
        limit: findings that `listed` gives.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self._arrived = 0
        self._kept: dict[str, list[Finding]] = defaultdict(list)

    def add(self, line: int, fault: Fault) -> None:
        """Count a fault, and keep it if it is among the first of its code."""
        self.counts[fault.code] += 1
        self._arrived += 1
        kept = self._kept[fault.code]
        if len(kept) < self.limit or (kept and line < kept[-1][0]):
            insort(kept, (line, self._arrived, fault), key=_place)
            del kept[self.limit :]

    @property
    def total(self) -> int:
        """All faults, kept or not."""
        return self.counts.total()

    def listed(self) -> list[dict[str, Any]]:
        """At most `limit` findings by line, each code in turn, so that a frequent one does not hide a rare one."""
        turns = chain.from_iterable(zip_longest(*self._kept.values()))
        chosen = [finding for finding in turns if finding][: self.limit]
        return [
            {"line": line, "field": fault.field, "code": fault.code, "message": fault.message}
            for line, _, fault in sorted(chosen, key=_place)
        ]


def _place(finding: Finding) -> tuple[int, int]:
    """The line, and among those of a line the order in which they came."""
    return finding[:2]

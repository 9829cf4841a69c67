"""How long texts are, in characters or tokens: a histogram a field, whatever the number of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST = 1 << 16  # longer texts count as this long in the percentiles, not in mean and maximum


class Lengths:
    """Lengths of the texts of one field."""

    def __init__(self) -> None:
        self._histogram: NDArray[np.int64] = np.zeros(LONGEST + 1, dtype=np.int64)
        self._total, self._longest = 0, 0

    def add(self, lengths: Sequence[int] | NDArray[np.int64]) -> None:
        """Add the lengths of some texts."""
        if not len(lengths):
            return
        values = np.asarray(lengths)
        counts = np.bincount(np.minimum(values, LONGEST))
        self._histogram[: len(counts)] += counts
        self._total, self._longest = self._total + int(values.sum()), max(self._longest, int(values.max()))

    @property
    def count(self) -> int:
        """Texts."""
        return int(self._histogram.sum())

    def above(self, limit: int) -> int:
        """Texts longer than `limit`."""
        return int(self._histogram[min(limit, LONGEST - 1) + 1 :].sum())

    def summary(self) -> dict[str, float]:
        """Count, mean, median, 95th percentile (both by nearest rank) and greatest length."""
        if not self.count:
            return {"count": 0, "mean": 0.0, "p50": 0, "p95": 0, "max": 0}
        cumulated = np.cumsum(self._histogram)
        p50, p95 = (int(np.searchsorted(cumulated, share * self.count)) for share in (0.5, 0.95))
        mean = round(self._total / self.count, 1)
        return {"count": self.count, "mean": mean, "p50": p50, "p95": p95, "max": self._longest}


@dataclass(frozen=True)
class TokenCount:
    """Counts tokens, special ones included."""

    count: Callable[[list[str]], list[int]]  # maps texts to their numbers of tokens
    limits: dict[str, int]  # tokens at which the texts of each field are cut

    def summary(self, field: str, lengths: Lengths) -> dict[str, Any]:
        """The lengths of a field, how many texts are cut at its limit and their share."""
        truncated = lengths.above(self.limits[field])
        share = round(truncated / max(lengths.count, 1), 4)
        return {**lengths.summary(), "truncated": truncated, "truncated_share": share}

"""What the valid rows of a file hold: how many of each kind, and how long their texts are.

Lengths, in characters or tokens, are kept as a histogram a field, whatever the number of texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl.data.columns import Columns
from embedctl.data.rows import TEXT_KEYS

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


class Statistics:
    """Kinds of rows and lengths of texts, in memory that does not grow with their number.

    Args:
        tokens: counts tokens; None for characters only.
    """

    def __init__(self, tokens: TokenCount | None) -> None:
        self.kinds: Counter[str] = Counter()
        self.prompted = 0
        self._count_tokens = tokens
        self._characters = {name: Lengths() for name in TEXT_KEYS}
        self._tokens = {name: Lengths() for name in TEXT_KEYS}

    def add(self, rows: Columns) -> None:
        """Add some rows."""
        self.kinds += rows.kinds
        self.prompted += len(rows.prompts) - rows.prompts.count(None)
        texts_of = dict(zip(TEXT_KEYS, (rows.queries, rows.pos.texts, rows.neg.texts), strict=True))
        for name, texts in texts_of.items():
            self._characters[name].add(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
        if self._count_tokens is None:
            return
        texts_of["query"] = [(prompt or "") + text for prompt, text in zip(rows.prompts, rows.queries, strict=True)]
        for name, texts in texts_of.items():
            if texts:
                self._tokens[name].add(self._count_tokens.count(texts))

    def lengths(self) -> dict[str, dict[str, Any]]:
        """The lengths of each field in characters, and in tokens if they are counted."""
        found = {"characters": {name: lengths.summary() for name, lengths in self._characters.items()}}
        if self._count_tokens is None:
            return found
        summary = self._count_tokens.summary
        return found | {"tokens": {name: summary(name, lengths) for name, lengths in self._tokens.items()}}

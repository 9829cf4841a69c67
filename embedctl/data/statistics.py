"""Statistics of the valid rows of a file: the number of rows per kind, and the lengths of the texts per field.

Lengths, in characters or tokens, are stored as one histogram per field, so the memory does not depend on the number of
texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from embedctl.data.columns import Columns
from embedctl.data.rows import TEXT_KEYS

# Longer texts count with this length in the percentiles, and with their real length in the mean and the maximum.
MAX_HISTOGRAM_LENGTH = 1 << 16


class LengthSummary(TypedDict):
    """The number of texts of a field, and figures of their lengths. The keys are those of `--json`."""

    count: int
    mean: float
    p50: int
    p95: int
    max: int
    truncated: NotRequired[int]  # texts that are longer than the maximum length; only for lengths in tokens
    truncated_share: NotRequired[float]


class TextLengths(TypedDict):
    """The summary of each field (query, pos and neg) in each unit."""

    characters: dict[str, LengthSummary]
    tokens: NotRequired[dict[str, LengthSummary]]  # only if tokens are counted


class Lengths:
    """Histogram, sum and maximum of the lengths of one field's texts."""

    def __init__(self) -> None:
        self._histogram: NDArray[np.int64] = np.zeros(MAX_HISTOGRAM_LENGTH + 1, dtype=np.int64)
        self._total, self._max = 0, 0

    def add(self, lengths: Sequence[int] | NDArray[np.int64]) -> None:
        """Add the lengths of some texts."""
        if not len(lengths):
            return
        values = np.asarray(lengths)
        counts = np.bincount(np.minimum(values, MAX_HISTOGRAM_LENGTH))
        self._histogram[: len(counts)] += counts
        self._total, self._max = self._total + int(values.sum()), max(self._max, int(values.max()))

    @property
    def count(self) -> int:
        """Return the number of texts."""
        return int(self._histogram.sum())

    def count_above(self, limit: int) -> int:
        """Return the number of texts that are longer than `limit`."""
        return int(self._histogram[min(limit, MAX_HISTOGRAM_LENGTH - 1) + 1 :].sum())

    def summary(self) -> LengthSummary:
        """Return the number of texts, and the mean, median, 95th percentile and maximum of their lengths.

        Median and percentile are computed by the nearest-rank method.
        """
        count, cumulative = self.count, np.cumsum(self._histogram)
        p50, p95 = (int(np.searchsorted(cumulative, share * count)) for share in (0.5, 0.95))
        return {"count": count, "mean": round(self._total / max(count, 1), 1), "p50": p50, "p95": p95, "max": self._max}


@dataclass(frozen=True)
class TokenCounter:
    """A function that counts tokens, special tokens included, and the maximum lengths of queries and passages."""

    count: Callable[[list[str]], list[int]]  # returns the number of tokens per text
    limits: dict[str, int]  # maximum number of tokens per field; longer texts are truncated

    def summary(self, field: str, lengths: Lengths) -> LengthSummary:
        """Return the summary of a field's lengths, and the number and share of texts that are truncated."""
        truncated = lengths.count_above(self.limits[field])
        share = round(truncated / max(lengths.count, 1), 4)
        return {**lengths.summary(), "truncated": truncated, "truncated_share": share}


class Statistics:
    """Numbers of rows and lengths of texts, in constant memory. Without `tokens`, lengths are in characters only."""

    def __init__(self, tokens: TokenCounter | None) -> None:
        self.kinds: Counter[str] = Counter()
        self.prompted = 0  # rows with their own prompt
        self._token_counter = tokens
        self._characters = {name: Lengths() for name in TEXT_KEYS}
        self._tokens = {name: Lengths() for name in TEXT_KEYS}

    def add(self, rows: Columns) -> None:
        """Add the rows of one block."""
        self.kinds += rows.kinds
        self.prompted += len(rows.prompts) - rows.prompts.count(None)
        texts_of = dict(zip(TEXT_KEYS, (rows.queries, rows.pos.texts, rows.neg.texts), strict=True))
        for name, texts in texts_of.items():
            self._characters[name].add(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
        if self._token_counter is None:
            return
        texts_of["query"] = [(prompt or "") + text for prompt, text in zip(rows.prompts, rows.queries, strict=True)]
        for name, texts in texts_of.items():
            if texts:
                self._tokens[name].add(self._token_counter.count(texts))

    def lengths(self) -> TextLengths:
        """Return the summary of each field in characters, and in tokens if they are counted."""
        summaries: TextLengths = {"characters": {name: found.summary() for name, found in self._characters.items()}}
        if self._token_counter is not None:
            summary_of = self._token_counter.summary
            summaries["tokens"] = {name: summary_of(name, found) for name, found in self._tokens.items()}
        return summaries

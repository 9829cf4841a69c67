"""Vectorized index arithmetic for items of different lengths that are stored one after another in one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """N ranges of array indices; span n is `starts[n], ..., starts[n] + lengths[n] - 1`.

    `indices`, `span_indices` and `offsets` have T entries, one per index of each span, in the order of the spans.
    """

    starts: Integers
    lengths: Integers

    @classmethod
    def from_lengths(cls, lengths: Integers, first: int = 0) -> Spans:
        """Return contiguous spans: the first one starts at `first`, each other one at the end of its predecessor."""
        return cls(first + np.cumsum(lengths) - lengths, lengths)

    @classmethod
    def interleave(cls, one: Spans, other: Spans) -> Spans:
        """Return 2N spans: span 0 of `one`, span 0 of `other`, span 1 of `one`, and so on."""
        starts, lengths = ([one.starts, other.starts], [one.lengths, other.lengths])
        return cls(np.stack(starts, axis=1).ravel(), np.stack(lengths, axis=1).ravel())

    @classmethod
    def where(cls, condition: NDArray[np.bool_], one: Spans, other: Spans) -> Spans:
        """Return N spans, from `one` where the condition (N,) is true, else from `other`, as `np.where` does."""
        return cls(np.where(condition, one.starts, other.starts), np.where(condition, one.lengths, other.lengths))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, selection: Any) -> Spans:
        """Return the spans that an index array, a slice or a mask selects."""
        return Spans(self.starts[selection], self.lengths[selection])

    @property
    def ends(self) -> Integers:
        """(N,) the index after the last one of each span."""
        return self.starts + self.lengths

    @property
    def span_indices(self) -> Integers:
        """(T,) the index of the span that contains each array index."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def offsets(self) -> Integers:
        """(T,) each index minus the start of its span."""
        return Spans(np.zeros_like(self.starts), self.lengths).indices

    @property
    def indices(self) -> Integers:
        """(T,) all indices of all spans."""
        ends = np.cumsum(self.lengths)
        return np.repeat(self.starts - (ends - self.lengths), self.lengths) + np.arange(ends[-1] if len(ends) else 0)

    def take(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return `array[self.indices]`, of shape (T, ...)."""
        taken: NDArray[Any] = array[self.indices]
        return taken

    def locate(self, indices: Integers) -> tuple[Integers, Integers]:
        """Return the span of each of M array indices, as an index (M,), and the offset in that span (M,).

        The spans must be contiguous.
        """
        span_indices = np.searchsorted(self.ends, indices, side="right")
        return span_indices, indices - self.starts[span_indices]


def find_in_sorted(ascending: NDArray[Any], values: NDArray[Any]) -> Integers:
    """Return the index (M,) of each of M values in an array in ascending order, -1 for a value that is missing."""
    index = np.searchsorted(ascending, values).clip(max=len(ascending) - 1)
    return np.where(ascending[index] == values, index, -1)

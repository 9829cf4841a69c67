"""Index arithmetic for items of different lengths that lie one after another in an array; no Python loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """N ranges of places in an array: span n is `starts[n], ..., starts[n] + lengths[n] - 1`.

    `places`, `owners` and `offsets` list the T places of all spans, span after span.
    """

    starts: Integers
    lengths: Integers

    @classmethod
    def adjoining(cls, lengths: Integers, first: int = 0) -> Spans:
        """Spans of these lengths from the place `first` on, each beginning where the previous one ends."""
        return cls(first + np.cumsum(lengths) - lengths, lengths)

    @classmethod
    def alternating(cls, one: Spans, other: Spans) -> Spans:
        """(2N,) span 0 of `one`, span 0 of `other`, span 1 of `one`, and so on."""
        starts, lengths = ([one.starts, other.starts], [one.lengths, other.lengths])
        return cls(np.stack(starts, axis=1).ravel(), np.stack(lengths, axis=1).ravel())

    @classmethod
    def where(cls, condition: NDArray[np.bool_], one: Spans, other: Spans) -> Spans:
        """(N,) the span of `one` where the condition holds, else that of `other`."""
        return cls(np.where(condition, one.starts, other.starts), np.where(condition, one.lengths, other.lengths))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, chosen: Any) -> Spans:
        """The chosen spans, in the order of an index array, or those of a slice or mask."""
        return Spans(self.starts[chosen], self.lengths[chosen])

    @property
    def ends(self) -> Integers:
        """(N,) the place after each span."""
        return self.starts + self.lengths

    @property
    def owners(self) -> Integers:
        """(T,) the number of the span that each place belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def offsets(self) -> Integers:
        """(T,) each place counted from the start of its span."""
        return Spans(np.zeros_like(self.starts), self.lengths).places

    @property
    def places(self) -> Integers:
        """(T,) each place."""
        ends = np.cumsum(self.lengths)
        return np.repeat(self.starts - (ends - self.lengths), self.lengths) + np.arange(ends[-1] if len(ends) else 0)

    def take(self, array: NDArray[Any]) -> NDArray[Any]:
        """(T, ...) the items of an array at the places."""
        taken: NDArray[Any] = array[self.places]
        return taken

    def locate(self, places: Integers) -> tuple[Integers, Integers]:
        """(M,) the number of the adjoining span that each of M places is in, and (M,) its offset in that span."""
        owners = np.searchsorted(self.ends, places, side="right")
        return owners, places - self.starts[owners]


def find(ascending: NDArray[Any], values: NDArray[Any]) -> Integers:
    """(M,) where each value stands in an ascending array, -1 for one that it does not hold."""
    place = np.searchsorted(ascending, values).clip(max=len(ascending) - 1)
    return np.where(ascending[place] == values, place, -1)

"""What was found for a row, which of it may be taken, and what is taken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedctl.distributed.random import mix
from embedctl.search.exact import Ids, Vectors


@dataclass(frozen=True)
class Choice:
    """How negatives are chosen among the candidates that are left.

    Args:
        first: the nearest rank that may be taken, counted from 0.
        last: the rank before which the range ends.
        number: negatives of a row.
        sampling: the nearest of the range (top), any (random), or rank r of it with weight 1/r (weighted).
        seed: of the random choice.
    """

    first: int
    last: int
    number: int
    sampling: str
    seed: int

    def begins(self, candidates: int) -> int:
        """The rank at which the range begins: nearer where there are too few candidates for `number` beyond `first`."""
        return max(0, min(self.first, candidates - self.number))

    def pick(self, row: int, ranked: Ids) -> Ids:
        """The chosen of `ranked`, in its order.

        A random choice follows from the seed and the row alone, not from the order in which rows are mined. The
        weighted one draws without replacement: the smallest of exponentials with the weights as rates (Efraimidis and
        Spirakis, 2006).
        """
        pool = ranked[self.begins(len(ranked)) : self.last]
        if self.sampling == "top" or len(pool) <= self.number:
            return pool[: self.number]
        keys = mix(self.seed, row, np.arange(len(pool))).astype(np.float64)
        if self.sampling == "weighted":
            keys = -np.log((keys + 0.5) / 2.0**64) * np.arange(1, len(pool) + 1)
        return pool[np.sort(np.argsort(keys, kind="stable")[: self.number])]


@dataclass
class Candidates:
    """What was found for a row, nearest first: N texts that no filter rejects.

    Args:
        row: whose.
        ids: (N,) places in the corpus.
        scores: (N,) the model's.
        excess: (N,) by how much they are outside the limits; above 0 they are not taken.
        judged: (N,) the judge's scores, NaN where it was not asked.
        rejected: how many each filter and limit rejected.
        found: how many search found, those rejected by filters counted.
    """

    row: int
    ids: Ids
    scores: Vectors
    excess: Vectors
    judged: Vectors
    rejected: Counter[str]
    found: int

    @property
    def allowed(self) -> Ids:
        """Positions of those within the limits."""
        return np.flatnonzero(self.excess <= 0)

    def limit(self, places: Ids, outside: dict[str, Vectors], prefix: str = "") -> None:
        """Apply limits to the candidates at `places`; each counts for the first that rejects it."""
        for name, excess in outside.items():
            fresh = (self.excess[places] <= 0) & (excess > 0)
            self.rejected[prefix + name] += int(fresh.sum())
            self.excess[places] = np.maximum(self.excess[places], excess)


@dataclass(frozen=True)
class Mined:
    """The negatives of a row.

    Args:
        ids: places in the corpus; those from the range nearest first, then those that fill it up.
        scores: of the judge where there is one, else the model's.
        similarities: the model's.
        filled: how many fill it up.
        reference: the score of the row's positive that `scores` compare with.
        candidates: what was found.
    """

    ids: Ids
    scores: Vectors
    similarities: Vectors
    filled: int
    reference: float
    candidates: Candidates

    def why(self, choice: Choice) -> dict[str, Any]:
        """How many were wanted, found and rejected by what: why a row got fewer."""
        rejected = {name: number for name, number in self.candidates.rejected.items() if number}
        facts = {"negatives": len(self.ids), "wanted": choice.number, "candidates": self.candidates.found}
        return facts | {"rejected": rejected}

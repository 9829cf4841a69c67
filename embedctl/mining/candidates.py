"""The texts that a search found for a row, limits of their scores, and how negatives are chosen among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedctl.distributed.random import mix
from embedctl.search.exact import Ids, Vectors

COLUMNS = ("ids", "similarities", "rerank_scores", "excess")  # of Candidates: one entry per text


@dataclass(frozen=True)
class Choice:
    """How negatives are chosen among the candidates that are left."""

    first: int  # the first position of the range, counted from 0 for the nearest candidate
    last: int  # the position before which the range ends
    number: int  # negatives of a row
    sampling: str  # the nearest of the range (top), any (random), or position p of it with weight 1/p (weighted)
    seed: int  # of the random choice

    def begins(self, candidates: int) -> int:
        """Where the range begins: nearer than `first` where too few candidates for `number` lie beyond it."""
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


@dataclass(frozen=True)
class Limits:
    """Scores that a negative may have, as in sentence-transformers' `mine_hard_negatives`; None sets no limit."""

    max_score: float | None = None  # a negative's score is at most this
    min_score: float | None = None  # at least this
    margin: float | None = None  # at most the positive's score less this
    relative_margin: float | None = None  # at most the positive's score less this share of its magnitude

    def excess(self, scores: Vectors, positive: float) -> dict[str, Vectors]:
        """By how much candidates' scores (N,) lie outside each limit that is set; above 0 is outside."""
        found: dict[str, Vectors] = {}
        if self.margin is not None:
            found["margin"] = scores - (positive - self.margin)
        if self.relative_margin is not None:
            found["relative margin"] = scores - (positive - abs(positive) * self.relative_margin)
        if self.max_score is not None:
            found["max score"] = scores - self.max_score
        if self.min_score is not None:
            found["min score"] = self.min_score - scores
        return found


def references(scores: Sequence[Vectors], how: str) -> Vectors:
    """The score (Q,) that margins are measured from: each row's `hardest` (lowest) positive, or the `mean` of them."""
    pick = np.min if how == "hardest" else np.mean
    return np.array([pick(row) if len(row) else np.inf for row in scores], dtype=np.float32)


@dataclass
class Candidates:
    """N texts found for a row that no filter rejects, nearest first."""

    row: int  # the row
    ids: Ids  # (N,) places in the corpus
    similarities: Vectors  # (N,) scores of the model
    rerank_scores: Vectors  # (N,) scores of the reranker, NaN where it was not asked
    excess: Vectors  # (N,) by how much they are outside the limits; above 0 they are not taken
    reference: float  # the score of the row's positive: of the reranker where there is one, else of the model
    rejected: Counter[str]  # how many each filter and limit rejected
    found: int  # how many the search found, those that filters rejected included

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def allowed(self) -> Ids:
        """Positions of those within the limits."""
        return np.flatnonzero(self.excess <= 0)

    @property
    def scores(self) -> Vectors:
        """The reranker's scores where it was asked, else the model's."""
        return np.where(np.isnan(self.rerank_scores), self.similarities, self.rerank_scores)

    @property
    def above(self) -> Vectors:
        """By how much each scores above the row's positive."""
        return self.scores - self.reference

    def limit(self, positions: Ids, outside: dict[str, Vectors], prefix: str = "") -> None:
        """Apply limits to the candidates at `positions`; each counts for the first limit that rejects it."""
        for name, excess in outside.items():
            fresh = (self.excess[positions] <= 0) & (excess > 0)
            self.rejected[prefix + name] += int(fresh.sum())
            self.excess[positions] = np.maximum(self.excess[positions], excess)

    def take(self, positions: Ids) -> Candidates:
        """Those at `positions`, in that order."""
        columns: dict[str, Any] = {name: getattr(self, name)[positions] for name in COLUMNS}
        return replace(self, **columns)

    def __add__(self, more: Candidates) -> Candidates:
        """These, then others of the same row."""
        pairs = {name: [getattr(self, name), getattr(more, name)] for name in COLUMNS}
        columns: dict[str, Any] = {name: np.concatenate(pair) for name, pair in pairs.items()}
        return replace(self, **columns)


@dataclass(frozen=True)
class Mined:
    """What one row got."""

    negatives: Candidates  # those of the range nearest first, then those that fill up
    candidates: Candidates  # what they were chosen from
    filled: int  # how many fill up
    nearer: bool  # whether the range had to begin nearer than it should, as there are too few candidates

    def why(self, wanted: int) -> dict[str, Any]:
        """How many were wanted, found and rejected by what: why a row got fewer."""
        rejected = {name: number for name, number in self.candidates.rejected.items() if number}
        facts = {"negatives": len(self.negatives), "wanted": wanted, "candidates": self.candidates.found}
        return facts | {"rejected": rejected}

"""Candidates of a row (passages that a search returned), limits on their scores, and the selection of negatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedctl.distributed.random import random_bits
from embedctl.search.exact import Ids, Vectors

COLUMNS = ("ids", "similarities", "rerank_scores", "violation")  # array fields of `Candidates`, each (N,)


@dataclass(frozen=True)
class Selection:
    """Settings of the selection of negatives from a range of positions among the allowed candidates of a row."""

    start: int  # first position of the range, from 0 for the most similar candidate
    stop: int  # end of the range, exclusive
    count: int  # negatives per row
    sampling: str  # top, random (uniform) or weighted (weight 1/p for the p-th candidate of the range, from 1)
    seed: int  # of the random sampling

    def range_start(self, candidates: int) -> int:
        """Return the first position of the range: `start`, or less if fewer than `count` candidates would follow."""
        return max(0, min(self.start, candidates - self.count))

    def select(self, row: int, ranked: Ids) -> Ids:
        """Return the selected elements of `ranked`, in the order of `ranked`.

        `ranked` (N,) are the positions of the allowed candidates of a row, most similar first.

        The random numbers depend only on the seed and the row, not on the order in which rows are processed. Weighted
        sampling is without replacement: it takes the smallest of exponential random variables whose rates are the
        weights (Efraimidis and Spirakis, 2006).
        """
        in_range = ranked[self.range_start(len(ranked)) : self.stop]
        if self.sampling == "top" or len(in_range) <= self.count:
            return in_range[: self.count]
        keys = random_bits(self.seed, row, np.arange(len(in_range))).astype(np.float64)
        if self.sampling == "weighted":
            keys = -np.log((keys + 0.5) / 2.0**64) * np.arange(1, len(in_range) + 1)
        return in_range[np.sort(np.argsort(keys, kind="stable")[: self.count])]


@dataclass(frozen=True)
class Limits:
    """Limits on a negative's score, as in sentence-transformers' `mine_hard_negatives`; None disables a limit.

    The reference score is the score of the row's positive, see `reference_scores`.
    """

    max_score: float | None = None  # the score must be at most this
    min_score: float | None = None  # the score must be at least this
    margin: float | None = None  # the score must be at most the reference score minus this
    relative_margin: float | None = None  # as margin, as a fraction of the absolute reference score

    def violations(self, scores: Vectors, reference: float) -> dict[str, Vectors]:
        """Return by how much each of N scores (N,) violates each limit that is set.

        The result has one array (N,) per limit, by its name. A value above 0 is a violation.
        """
        found: dict[str, Vectors] = {}
        if self.margin is not None:
            found["margin"] = scores - (reference - self.margin)
        if self.relative_margin is not None:
            found["relative margin"] = scores - (reference - abs(reference) * self.relative_margin)
        if self.max_score is not None:
            found["max score"] = scores - self.max_score
        if self.min_score is not None:
            found["min score"] = self.min_score - scores
        return found


def reference_scores(scores: Sequence[Vectors], positive_score: str) -> Vectors:
    """Return the reference score (Q,) of each of Q rows, given one array of scores per row: those of its positives.

    It is their minimum (`positive_score` "hardest") or their mean ("mean"). For a row without positives it is infinite.
    """
    reduce = np.min if positive_score == "hardest" else np.mean
    return np.array([reduce(row) if len(row) else np.inf for row in scores], dtype=np.float32)


@dataclass
class Candidates:
    """The N candidates of a row that passed all filters, most similar first."""

    row: int  # index of the row
    ids: Ids  # (N,) indices into the corpus
    similarities: Vectors  # (N,) scores of the embedding model
    rerank_scores: Vectors  # (N,) scores of the reranker, NaN for a candidate that it has not scored
    violation: Vectors  # (N,) the largest violation of a limit; a candidate with a value above 0 is rejected
    reference: float  # the reference score of the row, from the reranker if there is one, otherwise from the model
    rejected: Counter[str]  # number of candidates rejected per filter and limit
    found: int  # number of candidates that the search returned, before the filters

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def allowed(self) -> Ids:
        """The positions (A,) of the A candidates within all limits."""
        return np.flatnonzero(self.violation <= 0)

    @property
    def scores(self) -> Vectors:
        """The reranker's score of each candidate (N,), or the model's score if the reranker has not scored it."""
        return np.where(np.isnan(self.rerank_scores), self.similarities, self.rerank_scores)

    @property
    def above_positive(self) -> Vectors:
        """The score of each candidate minus the reference score (N,)."""
        return self.scores - self.reference

    def apply_limits(self, positions: Ids, violations: dict[str, Vectors], prefix: str = "") -> None:
        """Apply the result of `Limits.violations`, one array (M,) per limit, to the candidates at `positions` (M,).

        A candidate is counted for the first limit that rejects it, under the limit's name with `prefix` in front.
        """
        for name, values in violations.items():
            newly_rejected = (self.violation[positions] <= 0) & (values > 0)
            self.rejected[prefix + name] += int(newly_rejected.sum())
            self.violation[positions] = np.maximum(self.violation[positions], values)

    def take(self, positions: Ids) -> Candidates:
        """Return the candidates at `positions` (M,), in that order."""
        columns: dict[str, Any] = {name: getattr(self, name)[positions] for name in COLUMNS}
        return replace(self, **columns)

    def __add__(self, other: Candidates) -> Candidates:
        """Append other candidates of the same row."""
        pairs = {name: [getattr(self, name), getattr(other, name)] for name in COLUMNS}
        columns: dict[str, Any] = {name: np.concatenate(pair) for name, pair in pairs.items()}
        return replace(self, **columns)


@dataclass(frozen=True)
class MinedRow:
    """The negatives of one row."""

    negatives: Candidates  # those selected from the range, most similar first, then those that --fill added
    candidates: Candidates  # the candidates from which they were selected
    filled: int  # number of negatives that --fill added
    range_extended: bool  # whether candidates before the range were also used, because the range had too few

    def shortage(self, requested: int) -> dict[str, Any]:
        """Return how many negatives were found and requested, and how many candidates were found and rejected.

        The names are keys of a line of the file of short rows.
        """
        facts = {"negatives": len(self.negatives), "wanted": requested, "candidates": self.candidates.found}
        return facts | {"rejected": dict(+self.candidates.rejected)}  # + drops counts of zero

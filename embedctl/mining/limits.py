"""Limits of the scores of negatives, alone and against the score of the row's positive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedctl.search.exact import Vectors


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

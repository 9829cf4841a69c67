"""Two systems on the same queries: how far apart they are, and whether that could be chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """A metric of two systems over the same queries.

    Args:
        difference: mean of the first minus mean of the second.
        low: lower end of the difference's 95 % interval.
        high: its upper end.
        won: queries on which the first is better.
        lost: queries on which it is worse.
    """

    difference: float
    low: float
    high: float
    won: int
    lost: int


def compare(first: dict[str, float], second: dict[str, float], seed: int = 0) -> Comparison:
    """Compare the per-query values of a metric.

    The interval is the paired bootstrap's percentile interval (Efron and Tibshirani, 1993; for retrieval: Sakai, 2006).

    Args:
        first: query id to value.
        second: the same queries.
        seed: of the resamples.
    """
    differences = np.array([value - second[query] for query, value in first.items()])
    draws = np.random.default_rng(seed).integers(0, len(differences), (RESAMPLES, len(differences)), dtype=np.int32)
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(float(differences.mean()), float(low), float(high), won, lost)

"""Two systems on the same queries: how far apart they are, and whether that could be chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CELLS = 1 << 22  # draws held at a time


@dataclass(frozen=True)
class Comparison:
    """A metric of two systems over the same queries."""

    difference: float  # mean of the first minus mean of the second
    low: float  # lower end of the difference's 95 % interval
    high: float  # its upper end
    won: int  # queries on which the first is better
    lost: int  # queries on which it is worse
    tied: int  # queries on which both are equal

    @property
    def verdict(self) -> str:
        """better, worse, or no clear difference where the interval holds 0."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no clear difference"


def compare(first: dict[str, float], second: dict[str, float], seed: int = 0) -> Comparison:
    """Compare the per-query values of a metric.

    The interval is the paired bootstrap's percentile interval (Efron and Tibshirani, 1993; in retrieval: Sakai, 2006).

    Args:
        first: query id to value.
        second: the same queries.
        seed: of the resamples.
    """
    differences = np.array([value - second[query] for query, value in first.items()])
    generator = np.random.default_rng(seed)
    size = len(differences)
    step = max(1, CELLS // size)
    resampled = [
        differences[generator.integers(0, size, (min(step, RESAMPLES - start), size))].mean(axis=1)
        for start in range(0, RESAMPLES, step)
    ]
    low, high = np.percentile(np.concatenate(resampled), [2.5, 97.5])
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(float(differences.mean()), float(low), float(high), won, lost, size - won - lost)

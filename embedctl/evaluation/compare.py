"""Comparison of two models on the same queries, with a confidence interval of the difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
MAX_BLOCK_VALUES = 1 << 22  # resampled values in memory at a time


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the same queries."""

    difference: float  # mean of the first model minus mean of the second
    low: float  # lower end of the 95% confidence interval of the difference
    high: float  # upper end of the interval
    better: int  # number of queries on which the first model is better
    worse: int  # number of queries on which it is worse
    equal: int  # number of queries on which both are equal

    @property
    def verdict(self) -> str:
        """Whether the first model is "better" or "worse"; "no clear difference" if 0 is in the confidence interval."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no clear difference"


def compare(first: dict[str, float], second: dict[str, float], seed: int = 0) -> Comparison:
    """Compare two models, given the value of a metric per query id; both have the same queries.

    The interval is the percentile interval of the paired bootstrap (Efron and Tibshirani, 1993; in information
    retrieval: Sakai, 2006).
    """
    differences = np.array([value - second[query] for query, value in first.items()])
    generator, size = np.random.default_rng(seed), len(differences)
    block = max(1, MAX_BLOCK_VALUES // size)
    resampled_means = [
        differences[generator.integers(0, size, (min(block, RESAMPLES - start), size))].mean(axis=1)
        for start in range(0, RESAMPLES, block)
    ]
    low, high = np.percentile(np.concatenate(resampled_means), [2.5, 97.5])
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(float(differences.mean()), float(low), float(high), better, worse, size - better - worse)

"""What may not be a negative, whatever its score.

A filter says which candidates of a row it keeps: what it rejects is never taken. To add one: a function that makes it
from the job and the data, and a line in `FILTERS`. Its options are fields of `FilterSection` in config/mining.py; their
values are in `job.filter_options`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedctl.mining.job import MiningJob
from embedctl.mining.pool import Hashes, MiningData
from embedctl.search.exact import Ids, Vectors

Mask = NDArray[np.bool_]
Filter = Callable[[int, Ids, Vectors], Mask]  # row, places (N,) and scores (N,) of candidates to those kept (N,)


def not_among(places: Sequence[Ids]) -> Filter:
    """Keeps what is not among a row's `places`."""
    return lambda row, ids, _scores: ~np.isin(ids, places[row])


def no_near_duplicate(positives: Sequence[Ids], normal_P: Hashes) -> Filter:
    """Keeps what is not, but for case, punctuation and spacing, a positive of the query.

    Args:
        positives: each row's positives as places in the pool.
        normal_P: the hash of each normalised text of the pool, whose first D are the corpus.
    """
    return lambda row, ids, _scores: ~np.isin(normal_P[ids], normal_P[positives[row]])


def not_the_query(normal_Q: Hashes, normal_P: Hashes) -> Filter:
    """Keeps what is not, but for case, punctuation and spacing, the query's own text: both given as hashes of that."""
    return lambda row, ids, _scores: normal_P[ids] != normal_Q[row]


# What messages and --json call a filter, and what makes it: None where the job does without.
FILTERS: dict[str, Callable[[MiningJob, MiningData], Filter | None]] = {
    "answers": lambda _, data: not_among(data.positives),
    "near-duplicates of answers": lambda _, data: no_near_duplicate(data.positives, data.normal_P),
    "the query itself": lambda _, data: not_the_query(data.normal_Q, data.normal_P),
    "own negatives": lambda job, data: not_among(data.own) if job.keep_negatives else None,
}


def filters_of(job: MiningJob, data: MiningData) -> dict[str, Filter]:
    """The filters of a job, by name."""
    made = {name: make(job, data) for name, make in FILTERS.items()}
    return {name: keeps for name, keeps in made.items() if keeps is not None}

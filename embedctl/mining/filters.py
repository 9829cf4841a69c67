"""Filters: rules that reject a candidate whatever its score.

To add a filter, write a function that creates it from the job and the data, and add a line to `FILTERS`. Options of
filters are fields of `FilterSection` in config/mining.py; their values are in `job.filter_options`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedctl.mining.data import Hashes, MiningData
from embedctl.mining.job import MiningJob
from embedctl.search.exact import Ids, Vectors

Mask = NDArray[np.bool_]
# Arguments: index of a row, indices (N,) of its candidates in the corpus, and their scores (N,).
# Returns a mask (N,), True for each candidate to keep.
Filter = Callable[[int, Ids, Vectors], Mask]


def exclude_texts(excluded: Sequence[Ids]) -> Filter:
    """Return a filter that rejects the texts in `excluded`, which has one array of text indices per row."""
    return lambda row, ids, _scores: ~np.isin(ids, excluded[row])


def exclude_near_duplicates(excluded: Sequence[Ids], hash_PF: Hashes) -> Filter:
    """Return a filter that rejects the texts in `excluded` and their near-duplicates.

    `excluded` has one array of text indices per row. `hash_PF` are the hashes of F normalized forms of each text.
    """
    return lambda row, ids, _scores: ~np.any(np.isin(hash_PF[ids], hash_PF[excluded[row]]), axis=1)


def exclude_query(hash_Q: Hashes, hash_PF: Hashes) -> Filter:
    """Return a filter that rejects a passage equal to the query, and its near-duplicates.

    `hash_Q` are the hashes of the normalized queries, and `hash_PF` those of F normalized forms of each text.
    """
    return lambda row, ids, _scores: np.all(hash_PF[ids] != hash_Q[row], axis=1)


# Key of each filter in `--json`, and a function that creates it; None if the job does not use the filter. The "answers"
# in the keys are known positives; the keys stay as they are for programs that read them.
FILTERS: dict[str, Callable[[MiningJob, MiningData], Filter | None]] = {
    "answers": lambda _, data: exclude_texts(data.known_positives),
    "near-duplicates of answers": lambda _, data: exclude_near_duplicates(data.known_positives, data.hash_P2),
    "the query itself": lambda _, data: exclude_query(data.hash_Q, data.hash_P2),
    "own negatives": lambda job, data: (
        exclude_near_duplicates(data.own_negatives, data.hash_P2) if job.keep_negatives else None
    ),
}
# Names of filters in messages where they differ from the keys in `--json`.
LABELS = {"answers": "known positives", "near-duplicates of answers": "near-duplicates of known positives"}


def build_filters(job: MiningJob, data: MiningData) -> dict[str, Filter]:
    """Return the filters that a job uses, by name."""
    created = {name: create(job, data) for name, create in FILTERS.items()}
    return {name: filter_ for name, filter_ in created.items() if filter_ is not None}

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
# Row index, indices (N,) of its candidates in the corpus and their scores (N,); returns a mask (N,), true to keep.
Filter = Callable[[int, Ids, Vectors], Mask]


def exclude_texts(excluded: Sequence[Ids]) -> Filter:
    """Return a filter that rejects the texts listed per row."""
    return lambda row, ids, _scores: ~np.isin(ids, excluded[row])


def exclude_near_duplicates(positives: Sequence[Ids], normalized_PF: Hashes) -> Filter:
    """Return a filter that rejects the positives of the row and their near-duplicates.

    The positives are indices into the distinct texts, of which `normalized_PF` has the hashes of F normalized forms.
    """
    return lambda row, ids, _scores: ~np.any(np.isin(normalized_PF[ids], normalized_PF[positives[row]]), axis=1)


def exclude_query(normalized_Q: Hashes, normalized_PF: Hashes) -> Filter:
    """Return a filter that rejects the text of the query and its near-duplicates, given hashes of normalized texts."""
    return lambda row, ids, _scores: np.all(normalized_PF[ids] != normalized_Q[row], axis=1)


# Name of each filter in `--json`, and a function that creates it; None if the job does not use the filter.
FILTERS: dict[str, Callable[[MiningJob, MiningData], Filter | None]] = {
    "answers": lambda _, data: exclude_texts(data.known_positives),
    "near-duplicates of answers": lambda _, data: exclude_near_duplicates(data.known_positives, data.normalized_P2),
    "the query itself": lambda _, data: exclude_query(data.normalized_Q, data.normalized_P2),
    "own negatives": lambda job, data: exclude_texts(data.own_negatives) if job.keep_negatives else None,
}
# What messages call a filter, if not by its name in `--json`.
LABELS = {"answers": "known positives", "near-duplicates of answers": "near-duplicates of known positives"}


def build_filters(job: MiningJob, data: MiningData) -> dict[str, Filter]:
    """Return the filters that a job uses, by name."""
    created = {name: create(job, data) for name, create in FILTERS.items()}
    return {name: filter_ for name, filter_ in created.items() if filter_ is not None}

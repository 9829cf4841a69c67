"""Filters on positives, near-duplicates, the query and own negatives, and the filters that a job uses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.data import collect_data, normalized_hashes
from embedctl.mining.filters import FILTERS, LABELS, build_filters, exclude_near_duplicates, exclude_texts

SCORES = np.zeros(3, np.float32)


def test_near_duplicates_of_the_rows_positives_are_rejected():
    texts = ["A river.", "a river", "a stone", "A STONE", "the answer"]
    keep = exclude_near_duplicates([np.array([0]), np.array([2, 4])], normalized_hashes(texts))
    assert keep(0, np.arange(3), SCORES).tolist() == [False, False, True]
    assert keep(1, np.arange(1, 4), SCORES).tolist() == [True, False, False]


def test_the_texts_listed_for_the_row_are_rejected():
    assert exclude_texts([np.array([1]), np.array([0])])(1, np.arange(3), SCORES).tolist() == [False, True, True]


@pytest.mark.parametrize("keep", [False, True])
def test_a_job_uses_every_filter_of_the_list_that_applies_to_it(keep):
    rows = [Row("a Query", ("a positive",), ("own",))]
    data = collect_data(rows, ["A positive!", "own", "a query"], keep_negatives=keep)
    filters = build_filters(SimpleNamespace(keep_negatives=keep), data)
    assert list(filters) == list(FILTERS)[: 3 + keep]
    kept = {name: filter_(0, np.arange(4), np.zeros(4, np.float32)).tolist() for name, filter_ in filters.items()}
    expected = {"answers": [1, 1, 1, 0], "near-duplicates of answers": [0, 1, 1, 0], "the query itself": [1, 1, 0, 1]}
    assert kept == expected | ({"own negatives": [1, 0, 1, 1]} if keep else {})


def test_labels_belong_to_filters():
    assert set(LABELS) <= set(FILTERS)

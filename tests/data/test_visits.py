"""The order of the visits of an epoch."""

from __future__ import annotations

import numpy as np

from embedctl.data.visits import without_repeats


def test_no_positive_and_no_query_twice_in_a_batch():
    positive, query = np.array([7, 7, 8, 9, 7, 10]), np.array([1, 2, 3, 3, 4, 5])
    order = without_repeats(positive, query, np.array([2, 2, 2]))
    assert sorted(order.tolist()) == list(range(6))
    for start in (0, 2, 4):
        pair = order[start : start + 2]
        assert len(set(positive[pair])) == 2
        assert len(set(query[pair])) == 2


def test_what_cannot_be_kept_apart_is_still_visited():
    order = without_repeats(np.array([7, 7, 7]), np.array([1, 2, 3]), np.array([2, 1]))
    assert sorted(order.tolist()) == [0, 1, 2]

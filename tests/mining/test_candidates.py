"""Candidates: which scores decide, which limit counts for a rejected one, and taking some of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from embedctl.mining.candidates import Candidates


@pytest.fixture
def found() -> Candidates:
    similarities = np.array([0.9, 0.6, 0.3], np.float32)
    rerank_scores = np.array([np.nan, 5.0, -2.0], np.float32)
    return Candidates(0, np.array([4, 2, 7]), similarities, rerank_scores, np.full(3, -np.inf), 1.0, Counter(), 5)


def test_the_rerankers_scores_decide_where_there_are_any(found):
    np.testing.assert_allclose(found.scores, [0.9, 5.0, -2.0], rtol=1e-6)
    np.testing.assert_allclose(found.above, [-0.1, 4.0, -3.0], atol=1e-6)


def test_a_candidate_counts_for_the_first_limit_that_rejects_it(found):
    found.limit(np.array([0, 1]), {"a": np.array([0.5, -1.0]), "b": np.array([0.7, 0.1])})
    found.limit(np.array([1, 2]), {"a": np.array([0.3, 0.0])}, "rerank ")
    assert found.rejected == {"a": 1, "b": 1, "rerank a": 0}
    assert found.allowed.tolist() == [2]
    np.testing.assert_allclose(found.excess, [0.7, 0.3, 0.0])


def test_some_of_them_in_another_order_and_together_again(found):
    part = found.take(np.array([2, 0]))
    assert (part.ids.tolist(), len(part), len(found)) == ([7, 4], 2, 3)
    whole = part + found.take(np.array([1]))
    assert whole.ids.tolist() == [7, 4, 2]
    np.testing.assert_array_equal(whole.rerank_scores, np.array([-2.0, np.nan, 5.0], np.float32))
    assert (whole.row, whole.reference, whole.found) == (found.row, found.reference, found.found)

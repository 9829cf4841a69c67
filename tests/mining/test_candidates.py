"""Candidates: which scores decide, what limits reject and which one counts for it, and taking some of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from embedctl.mining.candidates import Candidates, Limits, references


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


def test_a_relative_margin_is_below_a_negative_positive_too():
    excess = Limits(relative_margin=0.5).excess(np.array([-0.5, -0.2], np.float32), -0.3)["relative margin"]
    assert (excess > 0).tolist() == [False, True]


def test_only_limits_that_are_set_are_applied():
    assert Limits().excess(np.zeros(3, np.float32), 0.5) == {}
    assert list(Limits(max_score=0.5, min_score=0.1).excess(np.zeros(3, np.float32), 0.5)) == ["max score", "min score"]


def test_several_positives_by_the_hardest_or_the_mean():
    scores = [np.array([0.5, 0.9], np.float32), np.array([0.4], np.float32)]
    np.testing.assert_allclose(references(scores, "hardest"), [0.5, 0.4], rtol=1e-6)
    np.testing.assert_allclose(references(scores, "mean"), [0.7, 0.4], rtol=1e-6)


def test_a_row_without_a_positive_to_measure_from_has_no_margin():
    assert references([np.zeros(0, np.float32)], "mean").tolist() == [np.inf]

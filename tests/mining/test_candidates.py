"""Scores, limits and reference scores of candidates, and taking and joining candidates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from embedctl.mining.candidates import Candidates, Limits, reference_scores


@pytest.fixture
def candidates() -> Candidates:
    similarities = np.array([0.9, 0.6, 0.3], np.float32)
    rerank_scores = np.array([np.nan, 5.0, -2.0], np.float32)
    return Candidates(0, np.array([4, 2, 7]), similarities, rerank_scores, np.full(3, -np.inf), 1.0, Counter(), 5)


def test_a_reranker_score_replaces_the_similarity(candidates):
    np.testing.assert_allclose(candidates.scores, [0.9, 5.0, -2.0], rtol=1e-6)
    np.testing.assert_allclose(candidates.above_positive, [-0.1, 4.0, -3.0], atol=1e-6)


def test_a_candidate_is_counted_for_the_first_limit_that_rejects_it(candidates):
    candidates.apply_limits(np.array([0, 1]), {"a": np.array([0.5, -1.0]), "b": np.array([0.7, 0.1])})
    candidates.apply_limits(np.array([1, 2]), {"a": np.array([0.3, 0.0])}, "rerank ")
    assert candidates.rejected == {"a": 1, "b": 1, "rerank a": 0}
    assert candidates.allowed.tolist() == [2]
    np.testing.assert_allclose(candidates.violation, [0.7, 0.3, 0.0])


def test_candidates_can_be_taken_in_another_order_and_joined(candidates):
    part = candidates.take(np.array([2, 0]))
    assert (part.ids.tolist(), len(part), len(candidates)) == ([7, 4], 2, 3)
    joined = part + candidates.take(np.array([1]))
    assert joined.ids.tolist() == [7, 4, 2]
    np.testing.assert_array_equal(joined.rerank_scores, np.array([-2.0, np.nan, 5.0], np.float32))
    assert (joined.row, joined.reference, joined.found) == (candidates.row, candidates.reference, candidates.found)


def test_a_relative_margin_lowers_the_limit_also_below_a_negative_reference_score():
    violation = Limits(relative_margin=0.5).violations(np.array([-0.5, -0.2], np.float32), -0.3)["relative margin"]
    assert (violation > 0).tolist() == [False, True]


def test_only_limits_that_are_set_are_applied():
    assert Limits().violations(np.zeros(3, np.float32), 0.5) == {}
    assert list(Limits(max_score=0.5, min_score=0.1).violations(np.zeros(3, np.float32), 0.5)) == [
        "max score",
        "min score",
    ]


def test_the_reference_score_is_the_lowest_score_or_the_mean():
    scores = [np.array([0.5, 0.9], np.float32), np.array([0.4], np.float32)]
    np.testing.assert_allclose(reference_scores(scores, "hardest"), [0.5, 0.4], rtol=1e-6)
    np.testing.assert_allclose(reference_scores(scores, "mean"), [0.7, 0.4], rtol=1e-6)


def test_the_reference_score_of_a_row_without_reference_positives_is_infinity():
    assert reference_scores([np.zeros(0, np.float32)], "mean").tolist() == [np.inf]

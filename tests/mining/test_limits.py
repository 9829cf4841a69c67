"""Limits against a positive, and the score that margins are measured from."""

from __future__ import annotations

import numpy as np

from embedctl.mining.limits import Limits, references


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

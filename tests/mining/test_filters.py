"""What may not be taken: answers, their near-duplicates, the query; and the score that margins are measured from."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.filters import Answers, hashes, no_near_duplicate, normalised, not_among, references

NOTHING = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("The River, a stone!", "the river  a STONE", True),
        ("ＡＢＣ，河流。", "abc 河流", True),
        ("river stone", "river stones", False),
        ("???", "!!!", False),
    ],
)
def test_texts_that_differ_in_case_width_punctuation_and_spacing_alone(text, other, same):
    assert (normalised(text) == normalised(other)) is same


def test_near_duplicates_of_a_rows_answers_go():
    texts = ["A river.", "a river", "a stone", "A STONE", "the answer"]
    keeps = no_near_duplicate([np.array([0]), np.array([2, 4])], hashes(map(normalised, texts)))
    assert keeps(0, np.arange(3), NOTHING).tolist() == [False, False, True]
    assert keeps(1, np.arange(1, 4), NOTHING).tolist() == [True, False, False]


def test_a_rows_own_texts_go():
    assert not_among([np.array([1]), np.array([0])])(1, np.arange(3), NOTHING).tolist() == [False, True, True]


def test_only_the_highest_grade_is_an_answer_to_measure_by():
    answers = Answers()
    answers.add(Row("q", ("good", "bad", "best"), scores=(0.5, 0.0, 0.5)))
    answers.add(Row("q", ("plain",)))
    assert sorted(answers.best_of("q")) == sorted(map(int, hashes(["good", "best", "plain"])))
    assert sorted(answers.of("q")) == sorted(hashes(["good", "bad", "best", "plain"]))
    assert answers.best_of("unknown") == []


def test_several_positives_by_the_hardest_or_the_mean():
    scores = [np.array([0.5, 0.9], np.float32), np.array([0.4], np.float32)]
    np.testing.assert_allclose(references(scores, "hardest"), [0.5, 0.4], rtol=1e-6)
    np.testing.assert_allclose(references(scores, "mean"), [0.7, 0.4], rtol=1e-6)

"""Distinct texts and what rows say of them: positives over all rows, grades, own negatives, and where texts are."""

from __future__ import annotations

import pytest

from embedctl.data.rows import Row
from embedctl.mining.pool import MiningData, gather, normalised


def texts(data: MiningData, places) -> list[str]:
    return [data.pool.texts[place] for place in places]


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


def test_only_the_highest_grade_is_an_answer_to_measure_by():
    rows = [Row("q", ("good", "bad", "best"), scores=(0.5, 0.0, 0.5)), Row("r", ("other",)), Row("q", ("plain",))]
    data = gather(rows, None, keep_negatives=False)
    for row in (0, 2):
        assert sorted(texts(data, data.measured[row])) == ["best", "good", "plain"]
        assert sorted(texts(data, data.positives[row])) == ["bad", "best", "good", "plain"]
    assert texts(data, data.measured[1]) == texts(data, data.positives[1]) == ["other"]


@pytest.mark.parametrize("keep", [False, True])
def test_without_a_corpus_all_texts_of_the_rows_are_searched(keep):
    data = gather([Row("q", ("a",), ("b", "a")), Row("r", ("c",), ("b",))], None, keep_negatives=keep)
    assert data.pool.texts == ["a", "b", "c"]
    assert data.searched == 3
    assert [texts(data, own) for own in data.own] == ([["b", "a"], ["b"]] if keep else [[], []])


@pytest.mark.parametrize("keep", [False, True])
def test_with_a_corpus_other_texts_are_known_but_not_searched(keep):
    data = gather([Row("q", ("a", "x"), ("b",))], ["x", "y", "x"], keep_negatives=keep)
    assert data.pool.texts == ["x", "y", "a"] + ["b"] * keep
    assert data.searched == 2
    assert texts(data, data.pool.places_of(["a", "x", "a"])) == ["a", "x", "a"]


def test_a_row_may_exclude_its_positives_its_own_negatives_and_its_query():
    rows = [Row("q", ("a", "b")), Row("r", ("c",), ("d", "e", "f")), Row("q", ("g",))]
    assert gather(rows, None, keep_negatives=True).most_excluded == 3 + 3 + 1
    assert gather(rows, None, keep_negatives=False).most_excluded == 3 + 1

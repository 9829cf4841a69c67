"""Distinct texts, normalization, and what is collected per row: known positives, reference positives, negatives."""

from __future__ import annotations

import pytest

from embedctl.data.passages import Passage
from embedctl.data.rows import Row
from embedctl.mining.data import MiningData, collect_data, normalize_text


def texts(data: MiningData, ids) -> list[str]:
    return [data.distinct.texts[index] for index in ids]


@pytest.mark.parametrize(
    ("text", "other", "equal"),
    [
        ("The River, a stone!", "the river  a STONE", True),
        ("ＡＢＣ，河流。", "abc 河流", True),
        ("river stone", "river stones", False),
        ("???", "!!!", False),
    ],
)
def test_normalization_removes_differences_in_case_width_punctuation_and_spacing(text, other, equal):
    assert (normalize_text(text) == normalize_text(other)) is equal


def test_only_the_texts_with_the_highest_grade_are_reference_positives():
    rows = [Row("q", ("good", "bad", "best"), scores=(0.5, 0.0, 0.5)), Row("r", ("other",)), Row("q", ("plain",))]
    data = collect_data(rows, None, keep_negatives=False)
    for row in (0, 2):
        assert sorted(texts(data, data.reference_positives[row])) == ["best", "good", "plain"]
        assert sorted(texts(data, data.known_positives[row])) == ["bad", "best", "good", "plain"]
    assert texts(data, data.reference_positives[1]) == texts(data, data.known_positives[1]) == ["other"]


@pytest.mark.parametrize("keep", [False, True])
def test_without_a_corpus_all_texts_of_the_rows_are_the_corpus(keep):
    data = collect_data([Row("q", ("a",), ("b", "a")), Row("r", ("c",), ("b",))], None, keep_negatives=keep)
    assert data.distinct.texts == ["a", "b", "c"]
    assert data.corpus_size == 3
    assert [texts(data, own) for own in data.own_negatives] == ([["b", "a"], ["b"]] if keep else [[], []])


@pytest.mark.parametrize("keep", [False, True])
def test_positives_and_kept_negatives_are_stored_after_a_corpus_that_lacks_them(keep):
    data = collect_data([Row("q", ("a", "x"), ("b",))], map(Passage, ["x", "y", "x"]), keep_negatives=keep)
    assert data.distinct.texts == ["x", "y", "a"] + ["b"] * keep
    assert data.corpus_size == 2
    assert texts(data, data.distinct.indices_of(["a", "x", "a"])) == ["a", "x", "a"]


@pytest.mark.parametrize("positive", ["a river", "The Nile\na river"])
def test_a_titled_passage_that_is_a_positive_of_a_row_is_written_as_in_that_row(positive):
    titled = [
        Passage("The Nile a river", "a river"),
        Passage("Amazon A river!", "A river!"),
        Passage("Sea salt", "salt"),
    ]
    data = collect_data([Row("q", (positive,)), Row("r", ("x",))], [*titled, Passage("x")], keep_negatives=False)
    written = [data.text_to_write(index) for index in range(4)]
    assert written == [positive, "Amazon A river!", "Sea salt", "x"]  # no text twice


def test_a_titled_passage_whose_text_is_also_in_the_corpus_keeps_its_title():
    corpus = [Passage("The Nile a river", "a river"), Passage("a river")]
    data = collect_data([Row("q", ("a river",))], corpus, keep_negatives=False)
    assert [data.text_to_write(index) for index in range(2)] == ["The Nile a river", "a river"]


def test_max_excluded_counts_positives_own_negatives_and_the_query():
    rows = [Row("q", ("a", "b")), Row("r", ("c",), ("d", "e", "f")), Row("q", ("g",))]
    assert collect_data(rows, None, keep_negatives=True).max_excluded == 3 + 3 + 1
    assert collect_data(rows, None, keep_negatives=False).max_excluded == 3 + 1

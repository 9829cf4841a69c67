"""Filters on positives, near-duplicates, the query and own negatives, and the filters that a job uses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from embedctl.data.passages import Passage
from embedctl.data.rows import Row
from embedctl.mining.data import collect_data, normalized_hashes
from embedctl.mining.filters import (
    FILTERS,
    LABELS,
    build_filters,
    exclude_near_duplicates,
    exclude_query,
    exclude_texts,
)

SCORES = np.zeros(3, np.float32)


def test_near_duplicates_of_the_rows_positives_are_rejected():
    texts = ["A river.", "a river", "a stone", "A STONE", "the answer"]
    keep = exclude_near_duplicates([np.array([0]), np.array([2, 4])], normalized_hashes(texts)[:, None])
    assert keep(0, np.arange(3), SCORES).tolist() == [False, False, True]
    assert keep(1, np.arange(1, 4), SCORES).tolist() == [True, False, False]


@pytest.mark.parametrize("positive", ["a river", "The Nile a river", "The Nile\nA river."])
def test_a_passage_with_a_title_is_a_near_duplicate_of_its_text_with_and_without_the_title(positive):
    corpus = [Passage("The Nile a river", "a river"), Passage("The Nile"), Passage("a stone")]
    data = collect_data([Row("a query", (positive,)), Row("The Nile", ("x",))], corpus, keep_negatives=False)
    near_duplicates = build_filters(SimpleNamespace(keep_negatives=False), data)["near-duplicates of answers"]
    assert near_duplicates(0, np.arange(3), SCORES).tolist() == [False, True, True]
    assert near_duplicates(1, np.arange(3), SCORES).tolist() == [True, True, True]


def test_a_query_that_is_the_text_of_a_titled_passage_is_rejected():
    data = collect_data([Row("A river!", ("x",))], [Passage("The Nile a river", "a river")], keep_negatives=False)
    assert exclude_query(data.hash_Q, data.hash_P2)(0, np.arange(1), SCORES).tolist() == [False]


def test_a_kept_negative_is_not_mined_again_with_its_title():
    rows, corpus = [Row("q", ("x",), ("a river",))], [Passage("The Nile a river", "a river"), Passage("a stone")]
    data = collect_data(rows, corpus, keep_negatives=True)
    own_negatives = build_filters(SimpleNamespace(keep_negatives=True), data)["own negatives"]
    assert own_negatives(0, np.arange(2), SCORES[:2]).tolist() == [False, True]


def test_the_texts_listed_for_the_row_are_rejected():
    assert exclude_texts([np.array([1]), np.array([0])])(1, np.arange(3), SCORES).tolist() == [False, True, True]


@pytest.mark.parametrize("keep", [False, True])
def test_a_job_uses_every_filter_of_the_list_that_applies_to_it(keep):
    rows = [Row("a Query", ("a positive",), ("own",))]
    data = collect_data(rows, map(Passage, ["A positive!", "own", "a query"]), keep_negatives=keep)
    filters = build_filters(SimpleNamespace(keep_negatives=keep), data)
    assert list(filters) == list(FILTERS)[: 3 + keep]
    kept = {name: filter_(0, np.arange(4), np.zeros(4, np.float32)).tolist() for name, filter_ in filters.items()}
    expected = {"answers": [1, 1, 1, 0], "near-duplicates of answers": [0, 1, 1, 0], "the query itself": [1, 1, 0, 1]}
    assert kept == expected | ({"own negatives": [1, 0, 1, 1]} if keep else {})


def test_labels_belong_to_filters():
    assert set(LABELS) <= set(FILTERS)

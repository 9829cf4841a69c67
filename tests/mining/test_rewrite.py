"""Rows are written again: what is kept of them, and which get scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.pool import gather
from embedctl.mining.rewrite import scores_of, with_negatives

ROW = {"id": 1, "query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [1.0], "neg_scores": [0.5]}
DATA = gather([Row("q", ("a",), ("b",))], ["c"], keep_negatives=True)


def scorer(_rows: list[int], ids: list[np.ndarray]) -> list[np.ndarray]:
    return [own / 3 for own in ids]


@pytest.mark.parametrize("keep", [False, True])
def test_scores_of_replaced_texts_go_and_own_negatives_stay_if_asked_for(keep):
    row = with_negatives(ROW, ["c"], SimpleNamespace(keep_negatives=keep))
    assert row == {"id": 1, "query": "q", "pos": ["a"], "neg": ["b", "c"] if keep else ["c"]}


def test_each_text_is_scored_by_its_place():
    expected = {"pos_scores": [round(1 / 3, 6)], "neg_scores": [0.0, round(2 / 3, 6)]}
    assert scores_of({"pos": ["a"], "neg": ["c", "b"]}, 0, DATA, scorer) == expected


@pytest.mark.parametrize("row", [{"pos": ["a"], "neg": ["c"], "scores": [1.0]}, {"pos": ["a"], "neg": []}])
def test_graded_rows_and_rows_without_negatives_get_no_scores(row):
    assert scores_of(row, 0, DATA, scorer) == {}

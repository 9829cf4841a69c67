"""What is kept of a row in the output, and which rows receive teacher scores."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from embedctl.data.passages import Passage
from embedctl.data.rows import Row
from embedctl.mining.data import collect_data
from embedctl.mining.output import teacher_scores, with_negatives

ROW = {"id": 1, "query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [1.0], "neg_scores": [0.5]}
DATA = collect_data([Row("q", ("a",), ("b",))], [Passage("c")], keep_negatives=True)


def scorer(_rows: list[int], ids: list[np.ndarray]) -> list[np.ndarray]:
    return [own / 3 for own in ids]


@pytest.mark.parametrize("keep", [False, True])
def test_teacher_scores_are_removed_and_own_negatives_are_kept_on_request(keep):
    row = with_negatives(ROW, ["c"], SimpleNamespace(keep_negatives=keep))
    assert row == {"id": 1, "query": "q", "pos": ["a"], "neg": ["b", "c"] if keep else ["c"]}


def test_each_text_receives_the_score_of_its_index():
    expected = {"pos_scores": [round(1 / 3, 6)], "neg_scores": [0.0, round(2 / 3, 6)]}
    assert teacher_scores({"pos": ["a"], "neg": ["c", "b"]}, 0, DATA, scorer) == expected


@pytest.mark.parametrize("row", [{"pos": ["a"], "neg": ["c"], "scores": [1.0]}, {"pos": ["a"], "neg": []}])
def test_graded_rows_and_rows_without_negatives_receive_no_teacher_scores(row):
    assert teacher_scores(row, 0, DATA, scorer) == {}

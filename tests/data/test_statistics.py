"""Kinds and lengths of rows that come in any number of blocks."""

from __future__ import annotations

import pytest

from embedctl.data.columns import Columns
from embedctl.data.lengths import TokenCount
from embedctl.data.rows import Row
from embedctl.data.statistics import Statistics

ROWS = [
    Row("q", ("one", "three"), ("seven77",)),
    Row("qq", ("a",), prompt="find: "),
    Row("q", ("a",), scores=(1.0,)),
    Row("q", ("a",), ("b",), pos_scores=(1.0,), neg_scores=(0.5,)),
]


@pytest.mark.parametrize("block", [1, 3, 4])
def test_the_size_of_a_block_changes_nothing(block):
    statistics = Statistics(TokenCount(lambda texts: list(map(len, texts)), {"query": 7, "pos": 3, "neg": 9}))
    for start in range(0, len(ROWS), block):
        rows = Columns()
        for number, row in enumerate(ROWS[start : start + block], start=start):
            rows.add(number + 1, number, row)
        statistics.add(rows)
    assert statistics.kinds == {"hard-negatives": 1, "in-batch": 1, "graded": 1, "teacher": 1}
    assert statistics.prompted == 1
    characters, tokens = statistics.lengths().values()
    assert [characters[name]["count"] for name in ("query", "pos", "neg")] == [4, 5, 2]
    assert (characters["query"]["max"], tokens["query"]["max"]) == (2, 8)
    assert [tokens[name]["truncated"] for name in ("query", "pos", "neg")] == [1, 1, 0]


def test_tokens_are_left_out_where_they_are_not_counted():
    assert list(Statistics(None).lengths()) == ["characters"]

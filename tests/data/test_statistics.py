"""Kinds and lengths of rows that come in any number of blocks; figures of lengths, by hand and against a plain sort."""

from __future__ import annotations

import math
import random

import pytest

from embedctl.data.columns import Columns
from embedctl.data.rows import Row
from embedctl.data.statistics import LONGEST, Lengths, Statistics, TokenCount

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


def test_by_hand():
    lengths = Lengths()
    lengths.add([4, 1, 3])
    lengths.add([])
    lengths.add([2])
    assert lengths.summary() == {"count": 4, "mean": 2.5, "p50": 2, "p95": 4, "max": 4}
    assert [lengths.above(limit) for limit in (0, 1, 2, 3, 4, 10**9)] == [4, 3, 2, 1, 0, 0]


def test_against_sorting():
    draw = random.Random(3)
    values = [int(draw.lognormvariate(4, 1)) for _ in range(1001)]
    lengths = Lengths()
    for start in range(0, len(values), 100):
        lengths.add(values[start : start + 100])
    ordered = sorted(values)
    summary = lengths.summary()
    assert summary["p50"] == ordered[math.ceil(0.5 * len(values)) - 1]
    assert summary["p95"] == ordered[math.ceil(0.95 * len(values)) - 1]
    assert summary["max"] == ordered[-1]
    assert summary["mean"] == round(sum(values) / len(values), 1)


def test_very_long_texts_count_whole_in_mean_and_maximum():
    lengths = Lengths()
    lengths.add([10 * LONGEST, 0])
    assert lengths.summary()["max"] == 10 * LONGEST
    assert lengths.summary()["mean"] == 5 * LONGEST
    assert lengths.above(2 * LONGEST) == 1


def test_no_texts():
    assert Lengths().summary() == {"count": 0, "mean": 0.0, "p50": 0, "p95": 0, "max": 0}


def test_the_share_that_is_cut_is_by_the_limit_of_the_field():
    lengths = Lengths()
    lengths.add([8, 9, 9, 10])
    tokens = TokenCount(lambda texts: [len(text) for text in texts], {"query": 8, "pos": 9, "neg": 10})
    shares = {name: tokens.summary(name, lengths) for name in tokens.limits}
    assert [facts["truncated"] for facts in shares.values()] == [3, 1, 0]
    assert [facts["truncated_share"] for facts in shares.values()] == [0.75, 0.25, 0.0]

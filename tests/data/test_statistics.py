"""Numbers of rows and lengths of texts, for any block size; the summary of lengths, compared with sorting."""

from __future__ import annotations

import math
import random

import pytest

from embedctl.data.columns import Columns
from embedctl.data.rows import Row
from embedctl.data.statistics import MAX_HISTOGRAM_LENGTH, Lengths, Statistics, TokenCounter

ROWS = [
    Row("q", ("one", "three"), ("seven77",)),
    Row("qq", ("a",), prompt="find: "),
    Row("q", ("a",), scores=(1.0,)),
    Row("q", ("a",), ("b",), pos_scores=(1.0,), neg_scores=(0.5,)),
]


@pytest.mark.parametrize("block", [1, 3, 4])
def test_statistics_do_not_depend_on_the_block_size(block):
    statistics = Statistics(TokenCounter(lambda texts: list(map(len, texts)), {"query": 7, "pos": 3, "neg": 9}))
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


def test_without_a_token_counter_only_characters_are_reported():
    assert list(Statistics(None).lengths()) == ["characters"]


def test_the_summary_of_a_few_lengths():
    lengths = Lengths()
    lengths.add([4, 1, 3])
    lengths.add([])
    lengths.add([2])
    assert lengths.summary() == {"count": 4, "mean": 2.5, "p50": 2, "p95": 4, "max": 4}
    assert [lengths.count_above(limit) for limit in (0, 1, 2, 3, 4, 10**9)] == [4, 3, 2, 1, 0, 0]


def test_the_summary_equals_that_of_sorted_lengths():
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


def test_very_long_texts_count_fully_in_mean_and_maximum():
    lengths = Lengths()
    lengths.add([10 * MAX_HISTOGRAM_LENGTH, 0])
    assert lengths.summary()["max"] == 10 * MAX_HISTOGRAM_LENGTH
    assert lengths.summary()["mean"] == 5 * MAX_HISTOGRAM_LENGTH
    assert lengths.count_above(2 * MAX_HISTOGRAM_LENGTH) == 1


def test_the_summary_of_no_texts_is_zero():
    assert Lengths().summary() == {"count": 0, "mean": 0.0, "p50": 0, "p95": 0, "max": 0}


def test_the_truncated_share_depends_on_the_limit_of_the_field():
    lengths = Lengths()
    lengths.add([8, 9, 9, 10])
    tokens = TokenCounter(lambda texts: [len(text) for text in texts], {"query": 8, "pos": 9, "neg": 10})
    summaries = {name: tokens.summary(name, lengths) for name in tokens.limits}
    assert [summary["truncated"] for summary in summaries.values()] == [3, 1, 0]
    assert [summary["truncated_share"] for summary in summaries.values()] == [0.75, 0.25, 0.0]

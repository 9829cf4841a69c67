"""The fast path returns texts if and only if the slow path finds no error and no warning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from embedctl.data.columns import parse_clean_rows
from embedctl.data.row_warnings import find_encoding_damage, find_warnings
from embedctl.data.rows import find_errors, to_row
from embedctl.reading.json_values import Lines
from embedctl.resources import example_data
from tests.data.lines import LINE


@settings(max_examples=300, deadline=None, derandomize=True)
@given(LINE)
def test_the_fast_path_accepts_a_line_if_the_slow_path_finds_nothing(line):
    value = next(Lines([1], [line]).parse())
    texts = parse_clean_rows([line])
    if value.problem is not None or find_errors(value.value):
        assert texts is None
        return
    row = to_row(value.value)
    takes_slow_path = {"prompt", "scores"} & set(value.value) or value.value.get("neg", []) is None
    has_warnings = find_warnings(row, 0) or find_encoding_damage(row)
    assert (texts is not None) == (not takes_slow_path and not has_warnings)
    if texts is not None:
        assert (texts.queries[0], tuple(texts.pos.texts), tuple(texts.neg.texts)) == (row.query, row.pos, row.neg)


@pytest.mark.parametrize("name", ["train.json", "kinds/hard_negatives.jsonl", "kinds/in_batch.jsonl"])
def test_the_example_rows_take_the_fast_path(name):
    lines = example_data(name).read_bytes().splitlines()
    texts = parse_clean_rows(lines)
    assert texts is not None
    assert list(texts.queries) == [json.loads(line)["query"] for line in lines]


@pytest.mark.parametrize("name", ["kinds/graded.jsonl", "kinds/teacher.jsonl", "kinds/prompted.jsonl"])
def test_rows_with_scores_or_prompts_take_the_slow_path(name):
    assert parse_clean_rows(example_data(name).read_bytes().splitlines()) is None

"""The texts of clean lines, and None for lines of which any is wrong or odd."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from embedctl.data.columns import clean_texts
from embedctl.data.oddities import find_damage, find_oddities
from embedctl.data.rows import check, to_row
from embedctl.reading.documents import Lines
from embedctl.resources import example_data
from tests.data.lines import LINE


@settings(max_examples=300, deadline=None, derandomize=True)
@given(LINE)
def test_a_line_is_clean_if_nothing_can_be_said_against_it(line):
    document = next(Lines([1], [line]).documents())
    texts = clean_texts([line])
    if document.fault is not None or check(document.value):
        assert texts is None
        return
    row = to_row(document.value)
    rare = {"prompt", "scores"} & set(document.value) or document.value.get("neg", []) is None
    assert (texts is not None) == (not rare and not find_oddities(row, 0) and not find_damage(row))
    if texts is not None:
        assert (texts.queries[0], tuple(texts.pos.texts), tuple(texts.neg.texts)) == (row.query, row.pos, row.neg)


@pytest.mark.parametrize("name", ["train.json", "kinds/hard_negatives.jsonl", "kinds/in_batch.jsonl"])
def test_the_example_rows_go_the_quick_way(name):
    lines = example_data(name).read_bytes().splitlines()
    texts = clean_texts(lines)
    assert texts is not None
    assert list(texts.queries) == [json.loads(line)["query"] for line in lines]


@pytest.mark.parametrize("name", ["kinds/graded.jsonl", "kinds/teacher.jsonl", "kinds/prompted.jsonl"])
def test_rare_kinds_go_one_by_one(name):
    assert clean_texts(example_data(name).read_bytes().splitlines()) is None

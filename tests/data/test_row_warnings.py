"""Warnings about a single row, and the first character with encoding damage in each field."""

from __future__ import annotations

import json

import pytest

from embedctl.data.row_warnings import few_negatives, find_encoding_damage, find_warnings, may_have_encoding_damage
from embedctl.data.rows import Row


def test_a_row_can_have_several_warnings():
    row = Row("q", ("q", "a"), ("a", "a"))
    assert [warning.code for warning in find_warnings(row, 3)] == [
        "few-negatives",
        "query-is-positive",
        "positive-is-negative",
        "duplicate-text",
    ]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_fast_check_of_a_line_misses_no_damaged_character(ascii_only):
    for code in (*range(0x20), *range(0x7F, 0xA0), 0xFFFD):
        text = f"before{chr(code)}after"
        damaged = bool(find_encoding_damage(Row("q", (text,))))
        assert damaged == (chr(code) not in "\t\n\r\x85")
        assert may_have_encoding_damage(json.dumps(text, ensure_ascii=ascii_only).encode()) or not damaged
    assert not may_have_encoding_damage(json.dumps('plain "text"\twith\nlines，中文·', ensure_ascii=False).encode())


def test_the_first_damaged_character_of_each_field_is_reported():
    warnings = find_encoding_damage(Row("ok", ("ok", "x\x01\x02"), ("\ufffd", "\ufffd")))
    assert [warning.field for warning in warnings] == ["pos[1]", "neg[0]"]
    assert "the text contains U+0001 (control character) at index 1 (from 0). Remove it" in warnings[0].message
    assert "the text contains U+FFFD (replacement character) at index 0 (from 0). Convert" in warnings[1].message


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "the row has no negatives, but --neg-nums is 15, so training uses only in-batch negatives for this row"),
        (1, "the row has 1 negative, but --neg-nums is 15, so training repeats negatives. Add negatives"),
        (2, "the row has 2 negatives, but --neg-nums is 15, so training repeats negatives. Add negatives"),
    ],
)
def test_the_message_about_few_negatives_counts_them(count, expected):
    assert few_negatives(count, 15).message.startswith(expected)

"""What is odd about a row by itself; characters that a conversion lost, each field's first one with its place."""

from __future__ import annotations

import json

import pytest

from embedctl.data.oddities import find_damage, find_oddities, may_be_damaged
from embedctl.data.rows import Row


def test_several_oddities_of_a_row():
    odd = Row("q", ("q", "a"), ("a", "a"))
    assert [fault.code for fault in find_oddities(odd, 3)] == [
        "few-negatives",
        "query-is-positive",
        "positive-is-negative",
        "duplicate-text",
    ]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_quick_look_at_a_line_misses_no_damaged_character(ascii_only):
    for code in (*range(0x20), *range(0x7F, 0xA0), 0xFFFD):
        text = f"before{chr(code)}after"
        damaged = bool(find_damage(Row("q", (text,))))
        assert damaged == (chr(code) not in "\t\n\r\x85")
        assert may_be_damaged(json.dumps(text, ensure_ascii=ascii_only).encode()) or not damaged
    assert not may_be_damaged(json.dumps('plain "text"\twith\nlines，中文·', ensure_ascii=False).encode())


def test_the_first_place_of_each_field_is_named():
    assert [
        (fault.field, fault.message) for fault in find_damage(Row("ok", ("ok", "x\x01\x02"), ("\ufffd", "\ufffd")))
    ] == [("pos[1]", "holds U+0001, a control character, at 1"), ("neg[0]", "holds U+FFFD, a lost character, at 0")]

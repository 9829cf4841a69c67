"""What is odd about a row by itself."""

from __future__ import annotations

from embedctl.data.oddities import find_oddities
from embedctl.data.rows import Row


def test_several_oddities_of_a_row():
    odd = Row("q", ("q", "a"), ("a", "a"))
    assert [fault.code for fault in find_oddities(odd, 3)] == [
        "few-negatives",
        "query-is-positive",
        "positive-is-negative",
        "duplicate-text",
    ]

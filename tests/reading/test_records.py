"""Records name their place, and a table without any wanted column is refused."""

from __future__ import annotations

import pytest

from embedctl.errors import DataError
from embedctl.reading.records import Record, Wanted

WANTED = Wanted(("text", "title"), column_hint="name the column", line_hint="fix the line")


def test_a_record_names_its_place():
    assert Record("a.csv", 3, {}).place == "a.csv:3"


def test_the_wanted_columns_in_the_order_of_the_table():
    assert WANTED.among("a.csv:1", ["title", "id", "text"]) == ["title", "text"]
    assert WANTED.among("a.csv:1", ["id", "title"]) == ["title"]


@pytest.mark.parametrize(("columns", "has"), [(["id", "body"], "id, body"), ([], "no columns")])
def test_a_table_with_none_of_them_is_refused(columns, has):
    with pytest.raises(DataError, match=rf"^a\.csv:1: text: no such column; it has {has}$") as refused:
        WANTED.among("a.csv:1", columns)
    assert refused.value.hint == "name the column"

"""Locations of records, and the error for a table without any of the columns to read."""

from __future__ import annotations

import pytest

from embedctl.errors import DataError
from embedctl.reading.records import ReadOptions, Record

OPTIONS = ReadOptions(("text", "title"), column_hint="name the column", line_hint="fix the line")


def test_the_location_of_a_record_is_file_and_line():
    assert Record("a.csv", 3, {}).location == "a.csv:3"


def test_columns_are_selected_in_the_order_of_the_table():
    assert OPTIONS.select_columns("a.csv:1", ["title", "id", "text"]) == ["title", "text"]
    assert OPTIONS.select_columns("a.csv:1", ["id", "title"]) == ["title"]


@pytest.mark.parametrize(("columns", "names"), [(["id", "body"], "id, body"), ([], "none")])
def test_a_table_without_any_of_the_columns_is_an_error(columns, names):
    with pytest.raises(DataError, match=rf"^a\.csv:1: text: no such column; existing columns: {names}$") as error:
        OPTIONS.select_columns("a.csv:1", columns)
    assert error.value.hint == "name the column"

"""The kinds of rows, each error that an object can have, and reading rows from files of every layout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from embedctl.data.rows import Row, RowKind, find_errors, read_rows, to_row
from embedctl.errors import DataError
from embedctl.reading import json_values
from embedctl.reading.json_values import JsonValue
from embedctl.resources import example_data


def errors(**changes: object) -> list[tuple[str, str]]:
    """Return field and code of the errors of a valid row after these changes; the value `...` removes a key."""
    row = {"query": "q", "pos": ["p"]} | changes
    found = find_errors({key: value for key, value in row.items() if value is not ...})
    return [(error.field, error.code) for error in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"neg": []}, []),
        ({"neg": None, "scores": None, "prompt": None}, []),
        ({"id": 7, "type": "anything"}, []),
        ({"query": ...}, [("query", "missing")]),
        ({"query": None}, [("query", "not-a-string")]),
        ({"query": 3}, [("query", "not-a-string")]),
        ({"query": " \n\u3000"}, [("query", "empty")]),
        ({"pos": ...}, [("pos", "missing")]),
        ({"pos": []}, [("pos", "empty")]),
        ({"pos": None}, [("pos", "not-a-list")]),
        ({"pos": "hello"}, [("pos", "not-a-list")]),
        ({"pos": ["a", 1, None, [], ""]}, [(f"pos[{n}]", "not-a-string") for n in (1, 2, 3)] + [("pos[4]", "empty")]),
        ({"neg": "hello"}, [("neg", "not-a-list")]),
        ({"neg": ["a", {}]}, [("neg[1]", "not-a-string")]),
        ({"prompt": 1}, [("prompt", "not-a-string")]),
        ({"prompt_for_query": ["x"]}, [("prompt_for_query", "not-a-string")]),
        ({"scores": 1.0}, [("scores", "not-a-list")]),
        ({"scores": []}, [("scores", "length")]),
        ({"scores": [1, 2]}, [("scores", "length")]),
        ({"scores": ["1"]}, [("scores[0]", "not-a-number")]),
        ({"scores": [True]}, [("scores[0]", "not-a-number")]),
        ({"scores": [float("nan")]}, [("scores[0]", "not-finite")]),
        ({"scores": [float("-inf")]}, [("scores[0]", "not-finite")]),
        ({"scores": [10**400]}, [("scores[0]", "too-large")]),
        ({"scores": [-1e300]}, [("scores[0]", "too-large")]),
        ({"neg": ["n"], "pos_scores": [1.0], "neg_scores": [0.5]}, []),
        ({"neg": ["n"], "pos_scores": [1.0], "neg_scores": [0.5, 0.4]}, [("neg_scores", "length")]),
        ({"neg": ["n"], "pos_scores": [1.0]}, [("neg_scores", "missing")]),
        ({"neg": ["n"], "neg_scores": [1.0]}, [("pos_scores", "missing")]),
    ],
)
def test_each_error_has_its_field_and_code(changes, expected):
    assert errors(**changes) == expected


@pytest.mark.parametrize("value", [None, 1, "text", ["q", "p"]])
def test_only_an_object_is_a_row(value):
    assert [error.code for error in find_errors(value)] == ["not-an-object"]


def test_all_errors_of_a_row_are_found():
    assert errors(query="", pos="x", neg=3) == [("query", "empty"), ("pos", "not-a-list"), ("neg", "not-a-list")]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (Row("q", ("p",)), RowKind.IN_BATCH),
        (Row("q", ("p",), ("n",)), RowKind.HARD),
        (Row("q", ("p",), scores=(0.5,)), RowKind.GRADED),
        (Row("q", ("p",), ("n",), pos_scores=(1.0,), neg_scores=(0.1,)), RowKind.TEACHER),
    ],
)
def test_the_kind_of_a_row_follows_from_its_keys(row, kind):
    assert row.kind is kind


def test_a_prompt_can_have_either_key():
    assert to_row({"query": "q", "pos": ["p"], "prompt_for_query": "find: "}).prompt == "find: "
    assert to_row({"query": "q", "pos": ["p"], "prompt": "find: "}).prompt == "find: "
    assert to_row({"query": "q", "pos": ["p"]}).prompt is None


EXAMPLES = {
    "in_batch": {RowKind.IN_BATCH},
    "hard_negatives": {RowKind.HARD},
    "graded": {RowKind.GRADED},
    "teacher": {RowKind.TEACHER},
    "prompted": {RowKind.HARD},
    "mixed": set(RowKind),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_file_of_a_kind_contains_that_kind_in_both_languages(name):
    rows = list(read_rows(str(example_data(f"kinds/{name}.jsonl"))))
    assert {row.kind for row in rows} == EXAMPLES[name]
    assert all(row.prompt for row in rows) == (name == "prompted")
    assert {row.query.isascii() for row in rows} == {True, False}


def test_every_kind_has_an_example_file():
    assert {path.stem for path in example_data("kinds").glob("*.jsonl")} == set(EXAMPLES)


def test_a_row_has_the_values_of_its_object():
    for name in EXAMPLES:
        for value in json_values.read_json_values(str(example_data(f"kinds/{name}.jsonl"))):
            row, fields = to_row(value.value), json.loads(value.raw)
            assert [*row.pos, *row.neg] == fields["pos"] + (fields.get("neg") or [])
            scores = [fields.get(key) or [] for key in ("scores", "pos_scores", "neg_scores")]
            assert [list(row.scores), list(row.pos_scores), list(row.neg_scores)] == scores


def write(folder: Path, content: bytes | str, name: str = "rows.json") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


VALUES = [
    {"query": "tide times", "pos": ["high water\nat noon"], "neg": ["low"]},
    {"query": "潮汐表", "pos": ["正午\u2028涨潮"]},
    {"query": 'a "quoted" one', "pos": ["]", "\\"]},
]
LAYOUTS = {
    "lines": "\n".join(json.dumps(value) for value in VALUES),
    "lines, Windows": "".join(json.dumps(value, ensure_ascii=False) + "\r\n" for value in VALUES),
    "array": json.dumps(VALUES),
    "array, indented": " \n" + json.dumps(VALUES, indent=2, ensure_ascii=False) + "\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_every_layout_and_compression_gives_the_same_rows(tmp_path, layout, pack):
    assert list(read_rows(write(tmp_path, pack(LAYOUTS[layout].encode()), "rows.data"))) == [
        Row("tide times", ("high water\nat noon",), ("low",)),
        Row("潮汐表", ("正午\u2028涨潮",)),
        Row('a "quoted" one', ("]", "\\")),
    ]


def test_rows_are_read_from_a_new_layout(tmp_path, monkeypatch):
    def read_pairs(stream: BinaryIO) -> Iterator[JsonValue]:
        for number, line in enumerate(stream, start=1):
            query, positive = line.decode().rstrip().split("=")
            yield JsonValue(number, {"query": query, "pos": [positive] if positive else []})

    monkeypatch.setitem(json_values.LAYOUTS, b"q=", read_pairs)
    assert list(read_rows(write(tmp_path, gzip.compress(b"q=p\nr=s\n")))) == [Row("q", ("p",)), Row("r", ("s",))]
    with pytest.raises(DataError, match=":2: pos: the list is empty"):
        list(read_rows(write(tmp_path, b"q=p\nr=\n")))


def test_nan_and_infinity_are_errors_of_the_row_not_of_the_json(tmp_path):
    path = write(tmp_path, '{"query":"q","pos":["a","b"],"scores":[NaN,1e999]}')
    assert [value.problem for value in json_values.read_json_values(path)] == [None]
    with pytest.raises(DataError) as raised:
        list(read_rows(path))
    assert f"{path}:1: scores[0]: the score must be a finite number, not nan" in raised.value.message
    assert f"{path}:1: scores[1]: the score must be a finite number, not inf" in raised.value.message


def test_read_rows_lists_the_first_errors_and_the_next_command(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf" + b'{"query":"","pos":"x"}\n' * 30)
    with pytest.raises(DataError) as raised:
        list(read_rows(path))
    lines = raised.value.message.splitlines()
    assert len(lines) == 20
    assert lines[0] == f"{path}:1: file: the file begins with a byte order mark; save it as UTF-8 without BOM"
    assert lines[2] == f"  {path}:1: pos: the value must be a list of strings, not a string"
    assert f"`embedctl validate-data {path}`" in raised.value.hint


def test_read_rows_skips_only_blank_lines(tmp_path):
    row = '{"query":"q","pos":["a"]}'
    assert len(list(read_rows(write(tmp_path, f"\n{row}\n\n{row}\n")))) == 2
    with pytest.raises(DataError, match=":3: line: not JSON"):
        list(read_rows(write(tmp_path, f"{row}\n\nnope\n{row}")))


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_a_file_without_rows_is_an_error(tmp_path, content):
    with pytest.raises(DataError, match="has no rows"):
        list(read_rows(write(tmp_path, content)))

"""What a row is, kind by kind, and each fault that an object can have."""

from __future__ import annotations

import json

import pytest

from embedctl.data.formats import read_rows
from embedctl.data.rows import Row, RowKind, check, to_row
from embedctl.reading.documents import documents
from embedctl.resources import example_data


def faults(**changes: object) -> list[tuple[str, str]]:
    """Field and code of what is wrong with a good row after these changes; `...` takes a key away."""
    row = {"query": "q", "pos": ["p"]} | changes
    return [
        (fault.field, fault.code) for fault in check({key: value for key, value in row.items() if value is not ...})
    ]


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
        ({"neg": ["n"], "pos_scores": [1.0], "neg_scores": [0.5]}, []),
        ({"neg": ["n"], "pos_scores": [1.0], "neg_scores": [0.5, 0.4]}, [("neg_scores", "length")]),
        ({"neg": ["n"], "pos_scores": [1.0]}, [("neg_scores", "missing")]),
        ({"neg": ["n"], "neg_scores": [1.0]}, [("pos_scores", "missing")]),
    ],
)
def test_each_fault_has_its_field_and_code(changes, expected):
    assert faults(**changes) == expected


@pytest.mark.parametrize("value", [None, 1, "text", ["q", "p"]])
def test_only_an_object_is_a_row(value):
    assert [fault.code for fault in check(value)] == ["not-an-object"]


def test_all_faults_are_found_at_once():
    assert faults(query="", pos="x", neg=3) == [("query", "empty"), ("pos", "not-a-list"), ("neg", "not-a-list")]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (Row("q", ("p",)), RowKind.IN_BATCH),
        (Row("q", ("p",), ("n",)), RowKind.HARD),
        (Row("q", ("p",), scores=(0.5,)), RowKind.GRADED),
        (Row("q", ("p",), ("n",), pos_scores=(1.0,), neg_scores=(0.1,)), RowKind.TEACHER),
    ],
)
def test_kinds(row, kind):
    assert row.kind is kind


def test_both_names_of_a_prompt():
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
def test_the_example_file_of_a_kind_holds_that_kind_in_both_languages(name):
    rows = list(read_rows(str(example_data(f"kinds/{name}.jsonl"))))
    assert {row.kind for row in rows} == EXAMPLES[name]
    assert all(row.prompt for row in rows) == (name == "prompted")
    assert {row.query.isascii() for row in rows} == {True, False}


def test_every_kind_has_an_example_file():
    assert {path.stem for path in example_data("kinds").glob("*.jsonl")} == set(EXAMPLES)


def test_a_row_keeps_what_the_object_says():
    for name in EXAMPLES:
        for document in documents(str(example_data(f"kinds/{name}.jsonl"))):
            row, value = to_row(document.value), json.loads(document.raw)
            assert [*row.pos, *row.neg] == value["pos"] + (value.get("neg") or [])
            scores = [value.get(key) or [] for key in ("scores", "pos_scores", "neg_scores")]
            assert [list(row.scores), list(row.pos_scores), list(row.neg_scores)] == scores

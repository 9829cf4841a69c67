"""The report of one file: all errors, all warnings and the statistics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedctl import console
from embedctl.data import checker
from embedctl.data.statistics import TokenCounter
from embedctl.data.validate import validate


def report(folder: Path, content: bytes | str | list[Any], **settings: Any) -> dict[str, Any]:
    path = folder / "rows.json"
    if isinstance(content, list):
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    bar = console.Bar("check", None, "MB")
    return validate(str(path), settings.get("neg_nums", 0), settings.get("max_listed", 20), settings.get("tokens"), bar)


def found(report: dict[str, Any], severity: str) -> list[tuple[int, str, str]]:
    return [(finding["line"], finding["field"], finding["code"]) for finding in report[severity]]


def row(query: str = "q", pos: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"query": query, "pos": pos or [f"p of {query}"]} | more


FILE_WITH_ERRORS = b"""\xef\xbb\xbf{"query": "one", "pos": ["a"]}
not json

[1]
{"pos": "hello"}
{"query": "", "pos": []}
{"query": "two", "pos": ["a", 3], "neg": ["", null]}
{"query": "three", "pos": ["a"], "scores": [NaN]}
{"query": "four", "pos": ["a"], "scores": [1, 2]}
{"query": "\xff", "pos": ["a"]}
{"query": "five", "pos": ["b"]}"""


def test_all_errors_are_found_in_one_run(tmp_path):
    errors = report(tmp_path, FILE_WITH_ERRORS)
    assert found(errors, "errors") == [
        (2, "line", "not-json"),
        (4, "row", "not-an-object"),
        (5, "query", "missing"),
        (5, "pos", "not-a-list"),
        (6, "query", "empty"),
        (6, "pos", "empty"),
        (7, "pos[1]", "not-a-string"),
        (7, "neg[0]", "empty"),
        (7, "neg[1]", "not-a-string"),
        (8, "scores[0]", "not-finite"),
        (9, "scores", "length"),
        (10, "line", "not-utf8"),
    ]
    assert found(errors, "warnings") == [(3, "line", "blank-line")]
    assert errors["rows"] == 2
    assert errors["kinds"] == {"in-batch": 2}


@pytest.mark.parametrize("max_listed", [0, 1, 5])
def test_the_listed_findings_are_limited_and_the_counts_are_not(tmp_path, max_listed):
    limited = report(tmp_path, FILE_WITH_ERRORS, max_listed=max_listed)
    assert len(limited["errors"]) == max_listed
    assert limited["stats"]["errors"] == 12
    assert sum(limited["stats"]["error_counts"].values()) == 12


def test_clean_rows_give_no_warning(tmp_path):
    clean = report(
        tmp_path, [row("q1", ["a\tb\r\n"], neg=["c", "ü\u00a0·，"]), row("q2", ["c"], neg=["d", "e"])], neg_nums=2
    )
    assert clean["errors"] == clean["warnings"] == []
    assert clean["stats"]["duplicate_texts"] == 1


WARNINGS = {
    "few": (row(neg=["a"]), 2, ("neg", "few-negatives")),
    "none": (row(), 1, ("neg", "few-negatives")),
    "graded rows need none": (row(scores=[1.0]), 5, None),
    "positive is negative but for case and punctuation": (
        row(pos=["a", "The Moon."], neg=["c", "the moon"]),
        0,
        ("neg[1]", "positive-is-negative"),
    ),
    "scores and negatives": (row(scores=[1.0], neg=["c"]), 0, ("neg", "not-used")),
    "scores and teacher scores": (row(scores=[1.0], pos_scores=[2.0]), 0, ("scores", "not-used")),
    "query is positive": (row("same", ["a", "same"]), 0, ("pos[1]", "query-is-positive")),
    "positive is negative": (row(pos=["a", "b"], neg=["c", "b"]), 0, ("neg[1]", "positive-is-negative")),
    "a negative twice": (row(neg=["c", "d", "c"]), 0, ("neg[2]", "duplicate-text")),
    "a positive twice": (row(pos=["c", "c"]), 0, ("pos[1]", "duplicate-text")),
    "U+FFFD": (row("caf\ufffd", ["p"]), 0, ("query", "encoding-damage")),
    "control character": (row(pos=["ok", "a\x07"]), 0, ("pos[1]", "encoding-damage")),
    "delete": (row(neg=["a\x7f"]), 0, ("neg[0]", "encoding-damage")),
    "C1 control character, from Windows quotes read as Latin-1": (
        row(neg=["a\x93b\x94"]),
        0,
        ("neg[0]", "encoding-damage"),
    ),
    "in a prompt": (row(prompt="find\x00: "), 0, ("prompt", "encoding-damage")),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_each_warning_has_its_field_and_code(tmp_path, name):
    odd_row, neg_nums, expected = WARNINGS[name]
    checked = report(tmp_path, [odd_row], neg_nums=neg_nums)
    assert found(checked, "warnings") == ([(1, *expected)] if expected else [])
    assert checked["errors"] == []


def test_warnings_about_several_rows(tmp_path):
    rows = [row("q", ["a"], neg=["b"]), row("r", ["b"]), row("q", ["b"]), row("q", ["c"], neg=["a", "x"])]
    checked = report(tmp_path, rows)
    assert found(checked, "warnings") == [
        (1, "neg", "positive-is-negative"),
        (3, "query", "duplicate-query"),
        (4, "query", "duplicate-query"),
        (4, "neg", "positive-is-negative"),
    ]
    assert checked["warnings"][0]["message"].startswith("line 3 lists a negative of this row as a positive")
    assert checked["stats"]["duplicate_queries"] == 2
    assert checked["stats"]["duplicate_texts"] == 3


def test_rows_of_an_array_on_one_line_have_their_index_in_the_field(tmp_path):
    rows = [row("q", ["a"]), row("r"), row("q", ["b"], neg=["b"])]
    one_line = report(tmp_path, json.dumps(rows))
    assert found(one_line, "warnings") == [
        (1, "[2].neg[0]", "positive-is-negative"),
        (1, "[2].query", "duplicate-query"),
    ]
    indented = report(tmp_path, json.dumps(rows, indent=0))
    assert {field for _, field, _ in found(indented, "warnings")} == {"neg[0]", "query"}


def test_the_first_rows_on_a_line_are_listed(tmp_path):
    one_line = report(tmp_path, json.dumps([row("q") for _ in range(200)]), max_listed=3)
    assert [field for _, field, _ in found(one_line, "warnings")] == ["[1].query", "[2].query", "[3].query"]


def test_characters_of_each_field(tmp_path):
    rows = [row("四个汉字", ["ab", "abcd"], neg=["x" * 9]), row("two", ["abc"])]
    characters = report(tmp_path, rows)["stats"]["characters"]
    assert characters["query"] == {"count": 2, "mean": 3.5, "p50": 3, "p95": 4, "max": 4}
    assert characters["pos"] == {"count": 3, "mean": 3.0, "p50": 3, "p95": 4, "max": 4}
    assert characters["neg"]["count"] == 1


def test_tokens_of_each_field_count_the_rows_own_prompt(tmp_path):
    counter = TokenCounter(lambda texts: ([len(text.split()) for text in texts], 1), {"query": 3, "pos": 2, "neg": 9})
    rows = [row("one two", ["a b c", "a b"], prompt="find: this "), row("one", ["a"], neg=["n"])]
    stats = report(tmp_path, rows, tokens=counter)["stats"]
    assert stats["tokens"]["query"] | {"mean": 0} == {
        "count": 2, "mean": 0, "p50": 1, "p95": 4, "max": 4, "truncated": 1, "truncated_share": 0.5,
        "unknown": 1, "unknown_share": 0.2
    }  # fmt: skip
    assert stats["tokens"]["pos"]["truncated"] == 1
    assert stats["tokens"]["neg"]["truncated_share"] == 0.0
    assert stats["prompted"] == 1


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_a_file_without_rows_is_an_error(tmp_path, content):
    assert ("file", "no-rows") in {finding[1:] for finding in found(report(tmp_path, content), "errors")}


def test_the_report_does_not_depend_on_the_block_size(tmp_path, monkeypatch):
    rows = [row(f"q{number % 40}", [f"p{number % 7}"], neg=[f"p{number % 5}", f"n{number}"]) for number in range(300)]
    whole = report(tmp_path, rows, max_listed=10_000)
    monkeypatch.setattr(checker, "BLOCK_BYTES", 500)
    assert report(tmp_path, rows, max_listed=10_000) == whole
    assert whole["stats"]["warning_counts"]["positive-is-negative"] > 50


def test_rows_without_negatives_are_listed_once_with_their_number(tmp_path):
    rows = [row(f"q{number}", neg=["n"] * (number % 10 == 3)) for number in range(500)]
    checked = report(tmp_path, rows, neg_nums=2)
    assert [(one["line"], one["code"], one["rows"]) for one in checked["warnings"]] == [
        (1, "few-negatives", 450),
        (4, "few-negatives", 50),
    ]
    assert checked["stats"]["warnings"] == 500


def test_the_keys_of_another_format_are_named_once(tmp_path):
    rows = [{"anchor": f"question {number}", "positive": f"answer {number}"} for number in range(20)]
    checked = report(tmp_path, [*rows, {"query": "q"}])
    once, missing = checked["errors"]
    expected = "the row has the keys anchor, positive, like rows of sentence-transformers, but not query and pos."
    assert once["message"].startswith(expected)
    assert (once["line"], once["code"], once["rows"]) == (1, "other-keys", 20)
    assert (missing["line"], missing["field"], missing["code"]) == (21, "pos", "missing")


def test_the_nearest_format_is_named(tmp_path):
    tevatron = {"query_id": "1", "query": "q", "positive_passages": [{"text": "a"}], "negative_passages": []}
    [error] = report(tmp_path, [tevatron])["errors"]
    assert "like rows of Tevatron, but not pos." in error["message"]

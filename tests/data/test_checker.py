"""Rows checked together and one by one give the same report; findings are counted without end and kept fairly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedctl import console
from embedctl.data import checker
from embedctl.data.checker import Checker, Findings
from embedctl.data.columns import clean_texts
from embedctl.data.validate import validate
from embedctl.reading import documents
from embedctl.reading.documents import Document, Problem
from tests.data.lines import LINE


def report(path: Path, neg_nums: int, keep: int) -> dict[str, Any]:
    return validate(str(path), neg_nums, keep, None, console.Bar("check", None, "MB"))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(LINE, min_size=1, max_size=20),
    at_once=st.integers(1, 8),
    neg_nums=st.integers(0, 3),
    keep=st.sampled_from([0, 1, 3, 50]),
    layout=st.sampled_from([(b"", b"\n", b""), (b"[\n", b",\n", b"\n]"), (b"[", b", ", b"]")]),
)
def test_rows_together_and_one_by_one_make_the_same_report(
    tmp_path, monkeypatch, rows, at_once, neg_nums, keep, layout
):
    start, between, end = layout
    path = tmp_path / "rows.jsonl"
    path.write_bytes(start + between.join(rows) + end)
    monkeypatch.setattr(checker, "clean_texts", clean_texts)
    monkeypatch.setattr(checker, "LINES_AT_ONCE", at_once)
    quick = report(path, neg_nums, keep)
    monkeypatch.setattr(checker, "clean_texts", lambda lines: None)
    assert report(path, neg_nums, keep) == quick


def test_blocks_hold_the_valid_rows_and_the_bytes_that_were_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checker, "BLOCK_BYTES", 100)
    monkeypatch.setattr(documents, "CHUNK", 100)
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"query": f"q{number}", "pos": ["p"] if number % 3 else []}) for number in range(30)]
    path.write_text("\n".join(lines))
    blocks = list(Checker(str(path), 0, 20).blocks())
    assert len(blocks) > 5
    assert [query for rows, _ in blocks for query in rows.queries] == [f"q{n}" for n in range(30) if n % 3]
    assert [number for rows, _ in blocks for number in rows.numbers] == [n for n in range(30) if n % 3]
    assert sum(size for _, size in blocks) == sum(map(len, lines))


def test_damage_is_looked_for_in_rows_whose_layout_has_no_lines(tmp_path, monkeypatch):
    def read_pairs(stream):
        for number, line in enumerate(stream, start=1):
            query, positive = line.decode().rstrip().split("=")
            yield Document(number, {"query": query, "pos": [positive]})

    monkeypatch.setitem(documents.LAYOUTS, b"q=", read_pairs)
    path = tmp_path / "rows.pairs"
    path.write_text("q=p\nr=caf\ufffd\n", encoding="utf-8")
    found = Checker(str(path), 0, 20)
    assert [rows.queries for rows, _ in found.blocks()] == [["q", "r"]]
    assert [(fault["line"], fault["code"]) for fault in found.warnings.listed()] == [(2, "encoding-damage")]


def listed(findings: Findings) -> list[tuple[int, str]]:
    return [(found["line"], found["code"]) for found in findings.listed()]


def test_a_frequent_code_does_not_hide_a_rare_one():
    findings = Findings(4)
    for line in range(1, 1001):
        findings.add(line, Problem("neg", "frequent", "m"))
    findings.add(900, Problem("pos", "rare", "m"))
    assert findings.total == 1001
    assert findings.counts == {"frequent": 1000, "rare": 1}
    assert listed(findings) == [(1, "frequent"), (2, "frequent"), (3, "frequent"), (900, "rare")]


def test_the_first_lines_are_kept_in_whatever_order_they_come():
    findings = Findings(3)
    for line in (50, 7, 90, 3, 8, 60):
        findings.add(line, Problem("query", "code", "m"))
    assert listed(findings) == [(3, "code"), (7, "code"), (8, "code")]


def test_nothing_is_kept_at_limit_0():
    findings = Findings(0)
    findings.add(1, Problem("query", "code", "m"))
    assert (findings.total, listed(findings)) == (1, [])


def test_what_is_listed_says_all_of_a_fault():
    findings = Findings(1)
    findings.add(5, Problem("pos[2]", "empty", "the text is empty"))
    assert findings.listed() == [{"line": 5, "field": "pos[2]", "code": "empty", "message": "the text is empty"}]

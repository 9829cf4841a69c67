"""The fast path and the slow path give the same report; all findings are counted and a limited number is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedctl import console
from embedctl.data import checker
from embedctl.data.checker import Checker, Findings
from embedctl.data.columns import parse_clean_rows
from embedctl.data.validate import validate
from embedctl.reading import files, json_values
from embedctl.reading.json_values import JsonValue, Problem
from tests.data.lines import LINE


def report(path: Path, neg_nums: int, max_listed: int) -> dict[str, Any]:
    return validate(str(path), neg_nums, max_listed, None, console.Bar("check", None, "MB"))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(LINE, min_size=1, max_size=20),
    lines_per_call=st.integers(1, 8),
    neg_nums=st.integers(0, 3),
    max_listed=st.sampled_from([0, 1, 3, 50]),
    layout=st.sampled_from([(b"", b"\n", b""), (b"[\n", b",\n", b"\n]"), (b"[", b", ", b"]")]),
)
def test_the_fast_path_and_the_slow_path_give_the_same_report(
    tmp_path, monkeypatch, rows, lines_per_call, neg_nums, max_listed, layout
):
    start, between, end = layout
    path = tmp_path / "rows.jsonl"
    path.write_bytes(start + between.join(rows) + end)
    monkeypatch.setattr(files, "check_utf8", lambda *_, **__: None)  # some bytes happen to be another encoding
    monkeypatch.setattr(checker, "parse_clean_rows", parse_clean_rows)
    monkeypatch.setattr(checker, "FAST_PATH_LINES", lines_per_call)
    fast = report(path, neg_nums, max_listed)
    monkeypatch.setattr(checker, "parse_clean_rows", lambda lines: None)
    assert report(path, neg_nums, max_listed) == fast


def test_blocks_contain_the_valid_rows_and_the_number_of_bytes_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checker, "BLOCK_BYTES", 100)
    monkeypatch.setattr(json_values, "CHUNK", 100)
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"query": f"q{number}", "pos": ["p"] if number % 3 else []}) for number in range(30)]
    path.write_text("\n".join(lines))
    blocks = list(Checker(str(path), 0, 20).blocks())
    assert len(blocks) > 5
    assert [query for rows, _ in blocks for query in rows.queries] == [f"q{n}" for n in range(30) if n % 3]
    assert [index for rows, _ in blocks for index in rows.indices] == [n for n in range(30) if n % 3]
    assert sum(size for _, size in blocks) == sum(map(len, lines))


def test_encoding_damage_is_found_in_layouts_without_raw_lines(tmp_path, monkeypatch):
    def read_pairs(stream):
        for number, line in enumerate(stream, start=1):
            query, positive = line.decode().rstrip().split("=")
            yield JsonValue(number, {"query": query, "pos": [positive]})

    monkeypatch.setitem(json_values.LAYOUTS, b"q=", read_pairs)
    path = tmp_path / "rows.pairs"
    path.write_text("q=p\nr=caf\ufffd\n", encoding="utf-8")
    checked = Checker(str(path), 0, 20)
    assert [rows.queries for rows, _ in checked.blocks()] == [["q", "r"]]
    assert [(warning["line"], warning["code"]) for warning in checked.warnings.listed()] == [(2, "encoding-damage")]


def listed(findings: Findings) -> list[tuple[int, str]]:
    return [(finding["line"], finding["code"]) for finding in findings.listed()]


def test_a_frequent_code_does_not_hide_a_rare_one():
    findings = Findings(4)
    for line in range(1, 1001):
        findings.add(line, Problem("neg", "frequent", "m"))
    findings.add(900, Problem("pos", "rare", "m"))
    assert findings.total == 1001
    assert findings.counts == {"frequent": 1000, "rare": 1}
    assert listed(findings) == [(1, "frequent"), (2, "frequent"), (3, "frequent"), (900, "rare")]


def test_the_first_lines_are_kept_in_any_order_of_discovery():
    findings = Findings(3)
    for line in (50, 7, 90, 3, 8, 60):
        findings.add(line, Problem("query", "code", "m"))
    assert listed(findings) == [(3, "code"), (7, "code"), (8, "code")]


def test_limit_0_keeps_no_finding():
    findings = Findings(0)
    findings.add(1, Problem("query", "code", "m"))
    assert (findings.total, listed(findings)) == (1, [])


def test_a_listed_finding_has_line_field_code_and_message():
    findings = Findings(1)
    findings.add(5, Problem("pos[2]", "empty", "the text is empty"))
    assert findings.listed() == [{"line": 5, "field": "pos[2]", "code": "empty", "message": "the text is empty"}]

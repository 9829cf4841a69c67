"""Checking many rows at once finds what checking one after the other finds, and each finding names its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedctl import console
from embedctl.data import checker
from embedctl.data.checker import Checker
from embedctl.data.columns import clean_texts
from embedctl.data.validate import validate
from embedctl.reading import documents
from embedctl.reading.documents import Document
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

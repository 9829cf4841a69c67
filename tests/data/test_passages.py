"""Passages from every layout of a corpus file, and the line of what is none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from embedctl.errors import DataError
from embedctl.data.passages import read_passages

BEIR = '{"_id": "1", "title": "Tea", "text": "is hot"}\n{"text": "rain"}\n\n{"text": " "}\n'
ROWS = '{"query": "q", "pos": ["a", "b"], "neg": ["c"]}\n{"query": "r", "pos": ["b"]}\n'


@pytest.mark.parametrize(
    ("name", "content", "passages"),
    [
        ("a.txt", " one \n\ntwo\r\n", ["one", "two"]),
        ("a.jsonl", BEIR, ["Tea is hot", "rain"]),
        ("a.json", '[{"text": "x"}, {"title": "t", "text": "y"}]', ["x", "t y"]),
        ("rows.jsonl", ROWS, ["a", "b", "c", "b"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_layouts(tmp_path: Path, name, content, passages, packed):
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert list(read_passages(str(path))) == passages


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}\n', r"a\.jsonl:2: text: a string is expected"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a\.jsonl:2: line: not JSON"),
        ("a.jsonl", b'{"query": "q", "pos": "p"}\n', r"a\.jsonl:1: pos: a list of strings is expected"),
        ("a.txt", b"one\n\xff\n", r"a\.txt:2: line: byte 0 is not UTF-8"),
    ],
)
def test_faults_name_their_line(tmp_path: Path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_passages(str(tmp_path / name)))

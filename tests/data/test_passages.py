"""Passages and BEIR texts from every format of a corpus, and the messages about records without a passage."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedctl.data.passages import read_beir, read_passages
from embedctl.errors import DataError

BEIR = '{"_id": "1", "title": "Tea", "text": "is hot"}\n{"text": "rain"}\n\n{"text": " "}\n'
ROWS = '{"query": "q", "pos": ["a", "b"], "neg": ["c"]}\n{"query": "r", "pos": ["b"]}\n'


@pytest.mark.parametrize(
    ("name", "content", "passages"),
    [
        ("a.txt", " one \n\ntwo\r\n", ["one", "two"]),
        ("a.jsonl", BEIR, ["Tea is hot", "rain"]),
        ("a.json", '[{"text": "x"}, {"title": "t", "text": "y"}]', ["x", "t y"]),
        ("rows.jsonl", ROWS, ["a", "b", "c", "b"]),
        ("a.csv", 'title,text\nTea,is hot\n,"rain,\nagain"\n,\n', ["Tea is hot", "rain,\nagain"]),
        ("a.data", BEIR, ["Tea is hot", "rain"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_passages_are_read_from_every_layout(tmp_path: Path, name, content, passages, packed):
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert list(read_passages(str(path))) == passages


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}\n', r"a\.jsonl:2: text: the key is missing, or"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a\.jsonl:2: line: not JSON"),
        ("a.jsonl", b'{"query": "q", "pos": "p"}\n', r"a\.jsonl:1: pos: the value must be a list of strings"),
        ("a.txt", b"one\n\xff\n", r"a\.txt:2: line: byte 0 is not valid UTF-8"),
        ("a.csv", b"id,body\n1,x\n", r"a\.csv:1: text: no such column; existing columns: id, body"),
        ("a.csv", b"id,title\n1,x\n", r"a\.csv:2: text: the key is missing, or"),
        ("a.csv", b"query,pos\nq,p\n", r"a\.csv:2: pos: the value must be a list of strings, not a string"),
    ],
)
def test_errors_contain_the_line(tmp_path: Path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_passages(str(tmp_path / name)))


def test_a_table_of_passages_and_a_table_of_rows(tmp_path: Path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"title": ["Tea", None], "text": ["is hot", "rain"], "id": [1, 2]}), path)
    assert list(read_passages(str(path))) == ["Tea is hot", "rain"]
    rows = {"query": ["q", "r"], "pos": [["a", "b"], ["b"]], "neg": [["c"], None], "scores": [None, [0.5]]}
    parquet.write_table(pa.table(rows), path)
    assert list(read_passages(str(path))) == ["a", "b", "c", "b"]
    parquet.write_table(pa.table(rows | {"query": ["q", None]}), path)
    with pytest.raises(DataError, match=r"a\.parquet:2: query: the value must be a string, not null"):
        list(read_passages(str(path)))


def test_beir_files_can_be_tables(tmp_path: Path):
    path = tmp_path / "corpus.csv"
    path.write_text("_id,title,text\n1,Tea,is hot\nd2,,rain\n")
    assert read_beir(str(path)) == {"1": "Tea is hot", "d2": "rain"}
    path.write_text("title,text\nTea,is hot\n")
    with pytest.raises(DataError, match=r"corpus\.csv:2: _id: the key is missing, or its value"):
        read_beir(str(path))
    parquet.write_table(pa.table({"_id": [1, 2], "text": ["x", "y"]}), tmp_path / "corpus.parquet")
    assert read_beir(str(tmp_path / "corpus.parquet")) == {"1": "x", "2": "y"}


def test_beir_files_with_another_suffix_are_json(tmp_path: Path):
    (tmp_path / "queries.txt").write_text('{"_id": "1", "text": "x"}\n')
    assert read_beir(str(tmp_path / "queries.txt")) == {"1": "x"}

"""The suffix chooses the reader; texts keep order and number, faults are named by line, texts are counted for a bar."""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from embedctl.data.passages import read_passages
from embedctl.errors import DataError
from embedctl.evaluation.collections import Collection
from embedctl.reading.readers import READERS, count_texts, read_csv, read_lines, read_objects, read_texts, reader_of
from embedctl.reading.records import Record, Wanted
from embedctl.reading.tables import read_tables

WANTED = Wanted(("text", "title"), column_hint="name the column", line_hint="fix the line")
VALUES = [{"title": "Tea", "text": "is hot"}, {"title": "", "text": "rain"}]


def read_pairs(path: str, _wanted: Wanted) -> Iterator[Record]:
    """A format of lines such as `7=text`."""
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        key, _, text = line.partition("=")
        yield Record(path, number, {"_id": key, "text": text})


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.json", read_objects),
        ("a.JSONL.gz", read_objects),
        ("a.csv.zst", read_csv),
        ("a.parquet", read_tables),
        ("a.txt", read_lines),
        ("a.gz", read_lines),
        ("-", read_lines),
    ],
)
def test_the_suffix_tells_the_reader(name, reader):
    assert reader_of(name, otherwise=read_lines) is reader


def test_an_unknown_suffix_is_what_the_caller_says(tmp_path):
    assert reader_of("a.dat", otherwise=read_objects) is read_objects
    assert reader_of(str(tmp_path), otherwise=read_objects) is read_tables


def test_every_format_gives_the_same_records(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, VALUES)))
    (tmp_path / "a.json").write_text(json.dumps(VALUES))
    (tmp_path / "a.csv").write_text("title,text\nTea,is hot\n,rain\n")
    parquet.write_table(pa.Table.from_pylist(VALUES), tmp_path / "a.parquet")
    assert {path.suffix for path in tmp_path.iterdir()} == set(READERS)
    for path in tmp_path.iterdir():
        records = list(READERS[path.suffix](str(path), WANTED))
        assert [record.value for record in records] == VALUES
        assert {record.file for record in records} == {str(path)}


def test_only_the_wanted_columns_of_a_table_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"vector": [[0.5] * 8], "text": ["one"]}), path)
    assert [record.value for record in read_tables(str(path), WANTED)] == [{"text": "one"}]


def test_what_can_not_be_read_comes_with_the_hint_of_the_caller(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\nnope\n')
    with pytest.raises(DataError, match=r"a\.jsonl:3: line: not JSON") as wrong:
        list(read_objects(str(path), WANTED))
    assert wrong.value.hint == "fix the line"


def test_a_format_is_one_function_and_one_line_for_all_commands(tmp_path, monkeypatch):
    path = tmp_path / "a.pairs"
    path.write_text("7=one\n8=two\n")
    (tmp_path / "qrels.tsv").write_text("7\t8\t1\n")
    assert list(read_texts(str(path), "text")) == ["7=one", "8=two"]
    monkeypatch.setitem(READERS, ".pairs", read_pairs)
    assert list(read_texts(str(path), "text")) == ["one", "two"]
    assert count_texts(str(path), "text") is None
    assert list(read_passages(str(path))) == ["one", "two"]
    collection = Collection.from_beir(str(path), str(path), str(tmp_path / "qrels.tsv"))
    assert (collection.queries, collection.corpus) == ({"7": "one"}, {"7": "one", "8": "two"})


PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@pytest.fixture
def write(tmp_path):
    def make(name: str, content: str | bytes, packing: str = "") -> str:
        path = tmp_path / (name + packing)
        path.write_bytes(PACK[packing](content.encode() if isinstance(content, str) else content))
        return str(path)

    return make


@pytest.mark.parametrize("packing", PACK)
def test_lines_keep_order_and_empty_ones(write, packing):
    path = write("a.txt", "one\n\n two \r\n学习", packing)
    assert list(read_texts(path, "text")) == ["one", "", " two ", "学习"]
    assert count_texts(path, "text") == (None if packing else 4)


def test_a_byte_order_mark_is_no_text(write):
    assert list(read_texts(write("a.txt", "\ufeffone\n\ufefftwo\n"), "text")) == ["one", "\ufefftwo"]


@pytest.mark.parametrize("packing", PACK)
def test_objects_lists_and_bare_strings(write, packing):
    rows = '{"query": "q", "pos": ["a", "b"]}\n\n"bare"\n{"query": "p", "pos": "c"}\n'
    path = write("b.jsonl", rows, packing)
    assert list(read_texts(path, "pos")) == ["a", "b", "bare", "c"]
    assert list(read_texts(path, "query")) == ["q", "bare", "p"]


def test_a_json_array(write):
    path = write("b.json", '[{"text": "one"},\n {"text": ""}]')
    assert list(read_texts(path, "text")) == ["one", ""]
    assert count_texts(path, "text") is None


def test_objects_are_counted_where_a_line_is_a_text(write):
    assert count_texts(write("a.jsonl", '{"text": "one"}\n{"text": "two"}'), "text") == 2
    assert count_texts(write("b.jsonl", '{"text": ["one", "two"]}\n'), "text") is None
    assert count_texts(write("c.jsonl", "no JSON\n"), "text") is None
    assert count_texts(write("d.jsonl", ""), "text") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "one"}\n{"txt": "two"}\n', r":2: text: the key is missing; it has txt$"),
        ('{"text": 3}\n', r":1: text: a string or a list of strings is expected, not 3$"),
        ('{"text": null}\n', r":1: text: .* not null$"),
        ('{"text": ["a", {"b": 1}]}\n', r':1: text: .* not {"b": 1}$'),
        ('{"text": ""}\n["a"]\n', r":2: text: an object or a string is expected$"),
        ('{"text": "one"}\n{"text": \n', r":2: line: not JSON"),
        ('{"text": "half \\ud800"}\n', r":1: text: holds half a character"),
    ],
)
def test_objects_that_hold_no_text(write, content, message):
    with pytest.raises(DataError, match=message):
        list(read_texts(write("x.jsonl", content), "text"))


def test_lines_that_are_no_utf8_are_numbered(write):
    with pytest.raises(DataError, match=r"x\.txt:2: line: byte 1 is not UTF-8"):
        list(read_texts(write("x.txt", b"fine\nh\xff\n"), "text"))


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.jsonl"])
def test_a_cut_file_is_said_to_be_damaged(write, tmp_path, name):
    text = "".join(f'{{"text": "{number} {os.urandom(20).hex()}"}}\n' for number in range(3000))
    whole = gzip.compress(('text\n"' + text.replace('"', "") + '"' if name == "x.csv" else text).encode())
    (tmp_path / f"{name}.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        list(read_texts(str(tmp_path / f"{name}.gz"), "text"))


@pytest.mark.parametrize("packing", PACK)
def test_csv(write, packing):
    path = write("c.csv", '\ufeffid,text\n1,"hello, ""world"""\n2,\n3,"two\nlines"\n', packing)
    assert list(read_texts(path, "text")) == ['hello, "world"', "", "two\nlines"]
    with pytest.raises(DataError, match=r"c\.csv.*:1: body: no such column; it has id, text"):
        list(read_texts(path, "body"))


def test_csv_of_long_documents_and_short_rows(write):
    long = "word " * 40_000
    assert list(read_texts(write("long.csv", f"text\n{long}\n"), "text")) == [long]
    with pytest.raises(DataError, match=r"short\.csv:3: text: .* not null"):
        list(read_texts(write("short.csv", "id,text\n1,a\n2\n"), "text"))
    with pytest.raises(DataError, match=r"latin\.csv:\d+: text: .*codec"):
        list(read_texts(write("latin.csv", b"text\nh\xff\n"), "text"))


def test_stdin(write, monkeypatch):
    with Path(write("a.txt", "one\n\ntwo")).open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert count_texts("-", "text") is None
        assert list(read_texts("-", "text")) == ["one", "", "two"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("one\ntwo\n",))
    writer.start()
    assert count_texts(str(path), "text") is None
    assert list(read_texts(str(path), "text")) == ["one", "two"]
    writer.join()


def test_a_missing_input_is_found_at_once(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_texts(str(tmp_path / "none.txt"), "text")

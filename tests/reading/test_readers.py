"""Selection of the reader, order and number of texts, line numbers in errors, and counting of texts."""

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
from embedctl.reading.readers import READERS, count_texts, read_csv, read_lines, read_objects, read_texts, reader_for
from embedctl.reading.records import ReadOptions, Record
from embedctl.reading.tables import read_tables

OPTIONS = ReadOptions(("text", "title"), column_hint="name the column", line_hint="fix the line")
VALUES = [{"title": "Tea", "text": "is hot"}, {"title": "", "text": "rain"}]


def read_pairs(path: str, _options: ReadOptions) -> Iterator[Record]:
    """Read a format with lines such as `7=text`."""
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
def test_the_suffix_determines_the_reader(name, reader):
    assert reader_for(name, default=read_lines) is reader


def test_the_caller_chooses_the_reader_of_an_unknown_suffix(tmp_path):
    assert reader_for("a.dat", default=read_objects) is read_objects
    assert reader_for(str(tmp_path), default=read_objects) is read_tables


def test_every_format_gives_the_same_records(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, VALUES)))
    (tmp_path / "a.json").write_text(json.dumps(VALUES))
    (tmp_path / "a.csv").write_text("title,text\nTea,is hot\n,rain\n")
    parquet.write_table(pa.Table.from_pylist(VALUES), tmp_path / "a.parquet")
    assert {path.suffix for path in tmp_path.iterdir()} == set(READERS)
    for path in tmp_path.iterdir():
        records = list(READERS[path.suffix](str(path), OPTIONS))
        assert [record.value for record in records] == VALUES
        assert {record.file for record in records} == {str(path)}


def test_only_the_given_columns_of_a_table_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"vector": [[0.5] * 8], "text": ["one"]}), path)
    assert [record.value for record in read_tables(str(path), OPTIONS)] == [{"text": "one"}]


def test_the_error_for_an_invalid_line_has_the_hint_of_the_caller(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\nnope\n')
    with pytest.raises(DataError, match=r"a\.jsonl:3: line: not JSON") as error:
        list(read_objects(str(path), OPTIONS))
    assert error.value.hint == "fix the line"


def test_adding_a_format_for_all_commands_takes_one_function_and_one_line(tmp_path, monkeypatch):
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


COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@pytest.fixture
def write(tmp_path):
    def make(name: str, content: str | bytes, suffix: str = "") -> str:
        path = tmp_path / (name + suffix)
        path.write_bytes(COMPRESSIONS[suffix](content.encode() if isinstance(content, str) else content))
        return str(path)

    return make


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_lines_keep_their_order_and_empty_lines_are_texts(write, suffix):
    path = write("a.txt", "one\n\n two \r\n学习", suffix)
    assert list(read_texts(path, "text")) == ["one", "", " two ", "学习"]
    assert count_texts(path, "text") == (None if suffix else 4)


def test_a_byte_order_mark_is_not_part_of_the_text(write):
    assert list(read_texts(write("a.txt", "\ufeffone\n\ufefftwo\n"), "text")) == ["one", "\ufefftwo"]


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_objects_lists_and_strings(write, suffix):
    rows = '{"query": "q", "pos": ["a", "b"]}\n\n"string"\n{"query": "p", "pos": "c"}\n'
    path = write("b.jsonl", rows, suffix)
    assert list(read_texts(path, "pos")) == ["a", "b", "string", "c"]
    assert list(read_texts(path, "query")) == ["q", "string", "p"]


def test_the_elements_of_a_json_array_are_read_and_not_counted(write):
    path = write("b.json", '[{"text": "one"},\n {"text": ""}]')
    assert list(read_texts(path, "text")) == ["one", ""]
    assert count_texts(path, "text") is None


def test_objects_are_counted_if_each_line_is_one_text(write):
    assert count_texts(write("a.jsonl", '{"text": "one"}\n{"text": "two"}'), "text") == 2
    assert count_texts(write("b.jsonl", '{"text": ["one", "two"]}\n'), "text") is None
    assert count_texts(write("c.jsonl", "no JSON\n"), "text") is None
    assert count_texts(write("d.jsonl", ""), "text") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "one"}\n{"txt": "two"}\n', r":2: text: the key is missing; existing keys: txt$"),
        ('{"text": 3}\n', r":1: text: a string or a list of strings is expected, not 3$"),
        ('{"text": null}\n', r":1: text: .* not null$"),
        ('{"text": ["a", {"b": 1}]}\n', r':1: text: .* not {"b": 1}$'),
        ('{"text": ""}\n["a"]\n', r":2: text: an object or a string is expected$"),
        ('{"text": "one"}\n{"text": \n', r":2: line: not JSON"),
        ('{"text": "half \\ud800"}\n', r":1: text: the value contains an unpaired surrogate"),
    ],
)
def test_values_that_are_not_texts_are_errors(write, content, message):
    with pytest.raises(DataError, match=message):
        list(read_texts(write("x.jsonl", content), "text"))


def test_the_error_for_invalid_utf8_contains_the_line_number(write):
    with pytest.raises(DataError, match=r"x\.txt:2: line: byte 1 is not valid UTF-8"):
        list(read_texts(write("x.txt", b"fine\nh\xff\n"), "text"))


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.jsonl"])
def test_a_truncated_file_is_damaged(write, tmp_path, name):
    text = "".join(f'{{"text": "{number} {os.urandom(20).hex()}"}}\n' for number in range(3000))
    whole = gzip.compress(('text\n"' + text.replace('"', "") + '"' if name == "x.csv" else text).encode())
    (tmp_path / f"{name}.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        list(read_texts(str(tmp_path / f"{name}.gz"), "text"))


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_csv_cells_are_read_and_a_missing_column_is_an_error(write, suffix):
    path = write("c.csv", '\ufeffid,text\n1,"hello, ""world"""\n2,\n3,"two\nlines"\n', suffix)
    assert list(read_texts(path, "text")) == ['hello, "world"', "", "two\nlines"]
    with pytest.raises(DataError, match=r"c\.csv.*:1: body: no such column; existing columns: id, text"):
        list(read_texts(path, "body"))


def test_csv_with_long_texts_and_missing_cells(write):
    long = "word " * 40_000
    assert list(read_texts(write("long.csv", f"text\n{long}\n"), "text")) == [long]
    with pytest.raises(DataError, match=r"short\.csv:3: text: .* not null"):
        list(read_texts(write("short.csv", "id,text\n1,a\n2\n"), "text"))
    with pytest.raises(DataError, match=r"latin\.csv:\d+: text: .*codec"):
        list(read_texts(write("latin.csv", b"text\nh\xff\n"), "text"))


def test_texts_of_stdin_are_read_and_not_counted(write, monkeypatch):
    with Path(write("a.txt", "one\n\ntwo")).open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert count_texts("-", "text") is None
        assert list(read_texts("-", "text")) == ["one", "", "two"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_named_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("one\ntwo\n",))
    writer.start()
    assert count_texts(str(path), "text") is None
    assert list(read_texts(str(path), "text")) == ["one", "two"]
    writer.join()


def test_a_missing_input_is_an_error_before_reading(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_texts(str(tmp_path / "none.txt"), "text")

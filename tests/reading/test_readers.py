"""Selection of the reader, order and number of texts, line numbers in errors, and counting of texts."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from embedctl.data.passages import read_passages
from embedctl.errors import DataError
from embedctl.evaluation.collections import Collection
from embedctl.reading.readers import (
    READERS,
    Reader,
    choose_reader,
    count_texts,
    read_csv,
    read_lines,
    read_objects,
    read_records,
    read_texts,
    read_tsv,
)
from embedctl.reading.records import ReadOptions, Record
from embedctl.reading.tables import read_parquet

OPTIONS = ReadOptions(("text", "title"), column_hint="name the column", line_hint="fix the line")
VALUES = [{"title": "Tea", "text": "is hot"}, {"title": "", "text": "rain"}]


def read_pairs(path: str, stream: BinaryIO, _options: ReadOptions) -> Iterator[Record]:
    """Read a format with lines such as `7=text`."""
    for number, line in enumerate(stream, start=1):
        key, _, text = line.decode().strip().partition("=")
        yield Record(path, number, {"_id": key, "text": text})


def reader_of(name: str, head: bytes) -> Reader:
    return choose_reader(name, io.BufferedReader(io.BytesIO(head)), ("text",), read_lines)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.json", read_objects),
        ("a.JSONL.gz", read_objects),
        ("a.ndjson.XZ", read_objects),
        ("a.csv.zst", read_csv),
        ("a.tsv.bz2", read_tsv),
        ("a.parquet", read_parquet),
        ("a.txt", read_lines),
    ],
)
def test_the_suffix_determines_the_reader(name, reader):
    assert reader_of(name, b'{"text": "one"}\n') is reader
    assert reader_of(name, b"PAR1 and more") is read_parquet


@pytest.mark.parametrize("name", ["-", "/dev/fd/63", "a.dat", "a.gz"])
@pytest.mark.parametrize(
    ("head", "reader"),
    [
        (b'{"text": "one"}\n', read_objects),
        (b'\n [ {"text": "one"}]', read_objects),
        (b'["one", "two"]', read_objects),
        (b"id,text\n1,one\n", read_csv),
        (b"id\ttext\r\n1\tone\n", read_tsv),
        (b"text\none\n", read_lines),
        (b"some text, of words\n", read_lines),
        (b"[1] a reference\n", read_lines),
        (b"{a set}\n", read_lines),
        (b"", read_lines),
    ],
)
def test_the_first_bytes_determine_the_reader_of_stdin_pipes_and_unknown_suffixes(name, head, reader):
    assert reader_of(name, head) is reader


def test_every_format_gives_the_same_records(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, VALUES)))
    (tmp_path / "a.json").write_text(json.dumps(VALUES))
    (tmp_path / "a.ndjson").write_text("\n".join(map(json.dumps, VALUES)))
    (tmp_path / "a.csv").write_text("title,text\nTea,is hot\n,rain\n")
    (tmp_path / "a.tsv").write_text("title\ttext\nTea\tis hot\n\train\n")
    parquet.write_table(pa.Table.from_pylist(VALUES), tmp_path / "a.parquet")
    assert {path.suffix for path in tmp_path.iterdir()} == set(READERS)
    for path in tmp_path.iterdir():
        records = list(read_records(str(path), OPTIONS, read_lines))
        assert [record.value for record in records] == VALUES
        assert {record.file for record in records} == {str(path)}


def test_only_the_given_columns_of_a_table_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"vector": [[0.5] * 8], "text": ["one"]}), path)
    assert [record.value for record in read_records(str(path), OPTIONS, read_lines)] == [{"text": "one"}]


def test_the_error_for_an_invalid_line_has_the_hint_of_the_caller(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\nnope\n')
    with pytest.raises(DataError, match=r"a\.jsonl:3: line: not JSON") as error:
        list(read_records(str(path), OPTIONS, read_lines))
    assert error.value.hint == "fix the line"


def test_adding_a_format_for_all_commands_takes_one_function_and_one_line(tmp_path, monkeypatch):
    path = tmp_path / "a.pairs"
    path.write_text("7=one\n8=two\n")
    (tmp_path / "qrels.tsv").write_text("7\t8\t1\n")
    assert list(read_texts(str(path), "text")) == ["7=one", "8=two"]
    monkeypatch.setitem(READERS, ".pairs", read_pairs)
    assert list(read_texts(str(path), "text")) == ["one", "two"]
    assert count_texts(str(path), "text") is None
    assert [passage.text for passage in read_passages(str(path))] == ["one", "two"]
    collection = Collection.from_beir(str(path), str(path), str(tmp_path / "qrels.tsv"))
    assert (collection.queries, collection.corpus) == ({"7": "one"}, {"7": "one", "8": "two"})


COMPRESSIONS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


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


def test_csv_texts_can_be_long_and_a_missing_cell_is_an_error(write):
    long = "word " * 40_000
    assert list(read_texts(write("long.csv", f"text\n{long}\n"), "text")) == [long]
    with pytest.raises(DataError, match=r"short\.csv:3: row: the row has 1 field, but the header has 2"):
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "id,text\n1,bees\n2,the Moon, and the tides\n",
            r"a\.csv:3: row: the row has 3 fields, but the header has 2",
        ),
        ("a.tsv", "id\ttext\n1\ta\tb\n", r"a\.tsv:2: row: the row has 3 fields, but the header has 2"),
        ("a.csv", "text,id\nthe Moon\npulls,1\n", r"a\.csv:2: row: the row has 1 field, but the header has 2"),
        ("a.csv", 'id,text\n1,"bees\n2,tides\n', r"a\.csv:\d+: text: unexpected end of data"),
        ("a.csv", 'id,text\n1,"bees" and honey\n', r"a\.csv:\d+: text: .*expected after"),
    ],
)
def test_a_row_that_the_header_does_not_fit_is_an_error_with_its_line(write, name, content, message):
    with pytest.raises(DataError, match=message):
        list(read_texts(write(name, content), "text"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
@pytest.mark.parametrize("content", ['{"text": "one"}\n{"text": "two"}\n', "id\ttext\n1\tone\n2\ttwo\n", "one\ntwo\n"])
def test_the_format_of_a_pipe_is_recognised(tmp_path, content):
    path = tmp_path / "pipe"
    for read in (
        lambda: list(read_texts(str(path), "text")),
        lambda: [passage.text for passage in read_passages(str(path))],
    ):
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_text, args=(content,))
        writer.start()
        assert read() == ["one", "two"]
        writer.join()
        path.unlink()

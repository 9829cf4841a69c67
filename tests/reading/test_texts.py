"""Texts of lines, JSON and CSV: order and number kept, faults named by line, counts for the bar."""

from __future__ import annotations

import gzip
import os
import sys
import threading
from pathlib import Path

import pytest
import zstandard

from embedctl.errors import DataError
from embedctl.reading.texts import count_texts, read_texts

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

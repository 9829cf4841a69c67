"""JSON values of files in each layout and compression, and the line and code of each problem."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from embedctl.reading import json_values
from embedctl.reading.json_values import Lines, read_blocks, read_json_values

ROWS = [
    {"query": "tide times", "pos": ["high water\nat noon"], "neg": ["low"]},
    {"query": "潮汐表", "pos": ["正午\u2028涨潮"]},
    {"query": 'a "quoted" one', "pos": ["]", "\\"]},
]
LAYOUTS = {
    "lines": "\n".join(json.dumps(row) for row in ROWS),
    "lines, Windows": "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS),
    "array": json.dumps(ROWS),
    "array, indented": " \n" + json.dumps(ROWS, indent=2, ensure_ascii=False) + "\n",
}
COMPRESSIONS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "zstd of two frames": lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:]),
}


def write(folder: Path, content: bytes | str, name: str = "rows.json") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def problems(path: str) -> list[tuple[int, str, str]]:
    return [(found.line, found.problem.field, found.problem.code) for found in read_json_values(path) if found.problem]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_layout_and_compression_gives_the_same_values(tmp_path, layout, compression):
    # the suffix .data is unknown, so only the content decides
    path = write(tmp_path, COMPRESSIONS[compression](LAYOUTS[layout].encode()), "rows.data")
    found = list(read_json_values(path))
    assert [one.value for one in found] == ROWS
    assert [json.loads(one.raw) for one in found] == ROWS


def test_line_numbers_start_at_one_in_both_layouts(tmp_path):
    lines = write(tmp_path, '{"a":1}\n\n{"a":2}\n')
    assert [(found.line, found.value) for found in read_json_values(lines)] == [(1, {"a": 1}), (2, None), (3, {"a": 2})]
    array = write(tmp_path, '[\n{"a":\n1},\n\n{"a":2}\n]')
    assert [(found.line, found.value) for found in read_json_values(array)] == [(2, {"a": 1}), (5, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a":1}\nnope\n{"a":2}', [(2, "line", "not-json")]),
        (b'{"a":1}\n{"a":\xff}\n{"a":2}', [(2, "line", "not-utf8")]),
        (b'\xef\xbb\xbf{"a":1}', []),
        (b"\xef\xbb\xbf[1, 2]", []),
        (b'{"a":1}\n \t\n{"a":2}\n\n', [(2, "line", "blank-line"), (4, "line", "blank-line")]),
        (b'{"a": "\\ud83d"}', [(1, "a", "lone-surrogate")]),
        (b'{\n"a": 1\n}', [(1, "line", "not-json"), (2, "line", "not-json"), (3, "line", "not-json")]),
        (b"[" * 100_000, [(1, "file", "not-json")]),
        (b'{"a":' + b"[" * 100_000, [(1, "line", "not-json")]),
        (b'{"a":' + b"9" * 5000 + b"}", [(1, "line", "not-json")]),
        (b'[{"a":1},\n{"a" 2},\n{"a":"\xff"},\n{"a":3}]', [(2, "line", "not-json"), (3, "line", "not-utf8")]),
        (b"[1,\n,2]", [(2, "line", "not-json")]),
        (b"[1]\n[2]", [(2, "file", "not-json")]),
    ],
)
def test_each_problem_has_a_line_and_a_code(tmp_path, content, expected):
    path = write(tmp_path, content)
    assert problems(path) == expected


def test_valid_values_around_an_invalid_one_are_read(tmp_path):
    path = write(tmp_path, '[{"a":1},\n{"a" 2},\n{"a":3}]')
    assert [found.value for found in read_json_values(path) if not found.problem] == [{"a": 1}, {"a": 3}]


def test_a_surrogate_pair_is_one_character(tmp_path):
    path = write(tmp_path, '{"query":"\\ud83d\\ude00","pos":["a","b"],"scores":[1,-Infinity]}')
    assert problems(path) == []
    assert next(read_json_values(path)).value["query"] == "😀"


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_damaged_file_is_read_up_to_the_damaged_part(tmp_path, compress):
    draw = random.Random(0)
    lines = "".join(json.dumps({"a": draw.random()}) + "\n" for _ in range(50_000)).encode()
    packed = bytearray(compress(lines))
    packed[-4000:-3000] = bytes(1000)
    path = write(tmp_path, bytes(packed))
    found = list(read_json_values(path))
    assert sum(one.problem is None for one in found) > 1000
    assert found[-1].problem is not None
    assert found[-1].problem.code == "damaged"
    assert found[-1].line == found[-2].line + 1


def test_a_truncated_gzip_file_is_damaged(tmp_path):
    path = write(tmp_path, gzip.compress(LAYOUTS["lines"].encode())[:-12])
    assert problems(path)[-1][2] == "damaged"


def test_json_values_of_stdin_are_read(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(gzip.compress(LAYOUTS["lines"].encode())))
    monkeypatch.setattr(sys, "stdin", stream)
    assert [found.value for found in read_json_values("-")] == ROWS


def test_adding_a_layout_takes_one_function_and_one_line(tmp_path, monkeypatch):
    def read_tsv(stream: BinaryIO) -> Iterator[Lines]:
        header, *lines = stream.read().splitlines()
        names = header.decode().split("\t")
        rows = [json.dumps(dict(zip(names, line.decode().split("\t"), strict=True))).encode() for line in lines]
        yield Lines(range(2, len(rows) + 2), rows)

    monkeypatch.setitem(json_values.LAYOUTS, b"query\t", read_tsv)
    path = write(tmp_path, gzip.compress(b"query\tid\na\t1\nb\t2\n"))
    assert [(found.line, found.value) for found in read_json_values(path)] == [
        (2, {"query": "a", "id": "1"}),
        (3, {"query": "b", "id": "2"}),
    ]


def test_lines_are_split_into_parts_that_keep_their_numbers(tmp_path):
    (whole,) = read_blocks(write(tmp_path, "1\n2\n3\n4\n5\n"))
    parts = list(whole.split(2))
    assert [list(part.numbers) for part in parts] == [[1, 2], [3, 4], [5]]
    assert [part.raw for part in parts] == [[b"1", b"2"], [b"3", b"4"], [b"5"]]


def test_the_rows_of_a_parquet_file_are_values(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"query": "a", "pos": ["x", "学"], "scores": [0.5, 1.0]}, {"query": "b", "pos": ["y"], "scores": None}]
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=1)
    found = list(read_json_values(str(path)))
    assert [(one.line, one.value) for one in found] == list(enumerate(rows, start=1))
    path.write_bytes(path.read_bytes()[:-20])
    assert problems(str(path)) == [(1, "file", "damaged")]
    packed = write(tmp_path, gzip.compress(b"PAR1" + bytes(20)), "rows.parquet.gz")
    assert problems(packed) == [(1, "file", "parquet")]


@pytest.mark.parametrize("header", ["query,pos,neg", '"id","query","pos"', "pos\tquery", "query\tpos"])
def test_a_table_is_one_problem_that_names_the_formats_of_rows(header, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(header + "\n" + "a,b,c\n" * 3)
    [found] = read_json_values(str(path))
    assert (found.line, found.problem.field, found.problem.code) == (1, "file", "table")
    assert "JSON object per line" in found.problem.message
    path.write_text("a query, or so\n")
    assert [value.problem.code for value in read_json_values(str(path))] == ["not-json"]

"""Whatever its layout and compression, a file gives the same documents; whatever is wrong has a line and a code."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest
import zstandard

from embedctl.data.formats import read_rows
from embedctl.data.rows import Row
from embedctl.errors import DataError
from embedctl.reading.documents import documents
from embedctl.reading.files import open_bytes, size_to_read

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
PACKERS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "zstd of two frames": lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:]),
}


def write(folder: Path, content: bytes | str, name: str = "rows.json") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def faults(path: str) -> list[tuple[int, str, str]]:
    return [(doc.line, doc.fault.field, doc.fault.code) for doc in documents(path) if doc.fault]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("packer", PACKERS)
def test_every_layout_and_compression_gives_the_same_rows(tmp_path, layout, packer):
    # the name says nothing: content alone decides
    path = write(tmp_path, PACKERS[packer](LAYOUTS[layout].encode()), "rows.data")
    found = list(documents(path))
    assert [document.value for document in found] == ROWS
    assert [json.loads(document.raw) for document in found] == ROWS
    assert list(read_rows(path)) == [
        Row("tide times", ("high water\nat noon",), ("low",)),
        Row("潮汐表", ("正午\u2028涨潮",)),
        Row('a "quoted" one', ("]", "\\")),
    ]


def test_lines_count_from_one_in_both_layouts(tmp_path):
    lines = write(tmp_path, '{"a":1}\n\n{"a":2}\n')
    assert [(document.line, document.value) for document in documents(lines)] == [
        (1, {"a": 1}),
        (2, None),
        (3, {"a": 2}),
    ]
    array = write(tmp_path, '[\n{"a":\n1},\n\n{"a":2}\n]')
    assert [(document.line, document.value) for document in documents(array)] == [(2, {"a": 1}), (5, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a":1}\nnope\n{"a":2}', [(2, "line", "not-json")]),
        (b'{"a":1}\n{"a":\xff}\n{"a":2}', [(2, "line", "not-utf8")]),
        (b'\xef\xbb\xbf{"a":1}', [(1, "file", "bom")]),
        (b"\xef\xbb\xbf[1, 2]", [(1, "file", "bom")]),
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
def test_what_is_wrong_has_a_line_and_a_code_and_hides_nothing_else(tmp_path, content, expected):
    path = write(tmp_path, content)
    assert faults(path) == expected


def test_good_values_around_bad_ones_are_read(tmp_path):
    path = write(tmp_path, '[{"a":1},\n{"a" 2},\n{"a":3}]')
    assert [document.value for document in documents(path) if not document.fault] == [{"a": 1}, {"a": 3}]


def test_nan_and_numbers_too_large_are_left_to_the_check_of_rows(tmp_path):
    path = write(tmp_path, '{"query":"q","pos":["a","b"],"scores":[NaN,1e999]}')
    assert faults(path) == []
    with pytest.raises(DataError) as wrong:
        list(read_rows(path))
    assert f"{path}:1: scores[0]: nan" in wrong.value.message
    assert f"{path}:1: scores[1]: inf" in wrong.value.message


def test_a_pair_of_surrogates_is_one_character(tmp_path):
    path = write(tmp_path, '{"query":"\\ud83d\\ude00","pos":["a","b"],"scores":[1,-Infinity]}')
    assert faults(path) == []
    assert next(documents(path)).value["query"] == "😀"


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_damaged_file_is_read_up_to_the_damage(tmp_path, pack):
    import random

    draw = random.Random(0)
    lines = "".join(json.dumps({"a": draw.random()}) + "\n" for _ in range(50_000)).encode()
    packed = bytearray(pack(lines))
    packed[-4000:-3000] = bytes(1000)
    path = write(tmp_path, bytes(packed))
    found = list(documents(path))
    assert sum(document.fault is None for document in found) > 1000
    assert found[-1].fault is not None
    assert found[-1].fault.code == "damaged"
    assert found[-1].line == found[-2].line + 1


def test_a_cut_off_gzip_is_damaged(tmp_path):
    path = write(tmp_path, gzip.compress(LAYOUTS["lines"].encode())[:-12])
    assert faults(path)[-1][2] == "damaged"


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        open_bytes(str(tmp_path / "nope"))
    with pytest.raises(DataError, match="is a folder"):
        open_bytes(str(tmp_path))


def test_stdin(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(gzip.compress(LAYOUTS["lines"].encode())))
    monkeypatch.setattr(sys, "stdin", stream)
    assert [document.value for document in documents("-")] == ROWS


def test_size_is_known_of_plain_files_only(tmp_path):
    assert size_to_read(write(tmp_path, "12345")) == 5
    assert size_to_read(write(tmp_path, gzip.compress(b"12345"))) is None
    assert size_to_read("-") is None


def test_read_rows_lists_the_first_faults_and_names_the_fix(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf" + b'{"query":"","pos":"x"}\n' * 30)
    with pytest.raises(DataError) as wrong:
        list(read_rows(path))
    lines = wrong.value.message.splitlines()
    assert len(lines) == 20
    assert lines[0] == f"{path}:1: file: begins with a byte order mark: save it as UTF-8 without BOM"
    assert lines[2] == f"  {path}:1: pos: a list of strings is expected, not a string"
    assert "validate-data" in wrong.value.hint


def test_read_rows_passes_over_blank_lines_only(tmp_path):
    good = '{"query":"q","pos":["a"]}'
    assert len(list(read_rows(write(tmp_path, f"\n{good}\n\n{good}\n")))) == 2
    with pytest.raises(DataError, match=":3: line: not JSON"):
        list(read_rows(write(tmp_path, f"{good}\n\nnope\n{good}")))


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_a_file_without_rows(tmp_path, content):
    with pytest.raises(DataError, match="has no rows"):
        list(read_rows(write(tmp_path, content)))

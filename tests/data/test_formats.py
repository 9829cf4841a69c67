"""The rows of a file, whatever its layout; what is wrong with them is listed and hides nothing else."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from embedctl.data.formats import read_rows
from embedctl.data.rows import Row
from embedctl.errors import DataError
from embedctl.reading import documents
from embedctl.reading.documents import Document


def write(folder: Path, content: bytes | str, name: str = "rows.json") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


VALUES = [
    {"query": "tide times", "pos": ["high water\nat noon"], "neg": ["low"]},
    {"query": "潮汐表", "pos": ["正午\u2028涨潮"]},
    {"query": 'a "quoted" one', "pos": ["]", "\\"]},
]
LAYOUTS = {
    "lines": "\n".join(json.dumps(value) for value in VALUES),
    "lines, Windows": "".join(json.dumps(value, ensure_ascii=False) + "\r\n" for value in VALUES),
    "array": json.dumps(VALUES),
    "array, indented": " \n" + json.dumps(VALUES, indent=2, ensure_ascii=False) + "\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_every_layout_and_compression_gives_the_same_rows(tmp_path, layout, pack):
    assert list(read_rows(write(tmp_path, pack(LAYOUTS[layout].encode()), "rows.data"))) == [
        Row("tide times", ("high water\nat noon",), ("low",)),
        Row("潮汐表", ("正午\u2028涨潮",)),
        Row('a "quoted" one', ("]", "\\")),
    ]


def test_a_new_layout_of_files_is_a_new_format_of_rows(tmp_path, monkeypatch):
    def read_pairs(stream: BinaryIO) -> Iterator[Document]:
        for number, line in enumerate(stream, start=1):
            query, positive = line.decode().rstrip().split("=")
            yield Document(number, {"query": query, "pos": [positive] if positive else []})

    monkeypatch.setitem(documents.LAYOUTS, b"q=", read_pairs)
    assert list(read_rows(write(tmp_path, gzip.compress(b"q=p\nr=s\n")))) == [Row("q", ("p",)), Row("r", ("s",))]
    with pytest.raises(DataError, match=":2: pos: the list is empty"):
        list(read_rows(write(tmp_path, b"q=p\nr=\n")))


def test_nan_and_numbers_too_large_are_left_to_the_check_of_rows(tmp_path):
    path = write(tmp_path, '{"query":"q","pos":["a","b"],"scores":[NaN,1e999]}')
    assert [document.fault for document in documents.documents(path)] == [None]
    with pytest.raises(DataError) as wrong:
        list(read_rows(path))
    assert f"{path}:1: scores[0]: nan" in wrong.value.message
    assert f"{path}:1: scores[1]: inf" in wrong.value.message


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

"""Opening of plain and compressed files, and errors for paths that are not files."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest
import zstandard

from embedctl.errors import DataError
from embedctl.reading import files
from embedctl.reading.files import known_size, open_bytes, without_compression_suffix


def write(folder: Path, content: bytes | str, name: str = "rows.json") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [
        b"text",
        gzip.compress(b"text"),
        zstandard.compress(b"text"),
        zstandard.compress(b"te") + zstandard.compress(b"xt"),
    ],
    ids=["plain", "gzip", "zstd", "zstd of two frames"],
)
def test_the_first_bytes_determine_the_compression(tmp_path, content):
    with open_bytes(write(tmp_path, content, "name.unknown-suffix")) as stream:
        assert stream.read() == b"text"


def test_adding_a_compression_takes_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(files.DECOMPRESSORS, ".bz2", (b"BZh", bz2.BZ2File))
    with open_bytes(write(tmp_path, bz2.compress(b"text"))) as stream:
        assert stream.read() == b"text"
    assert without_compression_suffix("a.jsonl.bz2") == Path("a.jsonl")


@pytest.mark.parametrize(("name", "plain"), [("a/b.csv.gz", "a/b.csv"), ("b.zst", "b"), ("b.csv", "b.csv"), ("-", "-")])
def test_the_suffix_of_a_compression_is_removed(name, plain):
    assert without_compression_suffix(name) == Path(plain)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_bytes(str(tmp_path / "nope"))
    with pytest.raises(DataError, match="is a folder"):
        open_bytes(str(tmp_path))


def test_the_size_is_known_only_for_plain_files(tmp_path):
    assert known_size(write(tmp_path, "12345")) == 5
    assert known_size(write(tmp_path, gzip.compress(b"12345"))) is None
    assert known_size("-") is None

"""Files are opened by their first bytes, and what is no file is named."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest
import zstandard

from embedctl.errors import DataError
from embedctl.reading import files
from embedctl.reading.files import open_bytes, size_to_read, without_compression


def write(folder: Path, content: bytes | str, name: str = "rows.json") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    "packed",
    [
        b"text",
        gzip.compress(b"text"),
        zstandard.compress(b"text"),
        zstandard.compress(b"te") + zstandard.compress(b"xt"),
    ],
    ids=["plain", "gzip", "zstd", "zstd of two frames"],
)
def test_the_first_bytes_tell_the_compression(tmp_path, packed):
    with open_bytes(write(tmp_path, packed, "name.says-nothing")) as stream:
        assert stream.read() == b"text"


def test_a_compression_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(files.OPENERS, ".bz2", (b"BZh", bz2.BZ2File))
    with open_bytes(write(tmp_path, bz2.compress(b"text"))) as stream:
        assert stream.read() == b"text"
    assert without_compression("a.jsonl.bz2") == Path("a.jsonl")


@pytest.mark.parametrize(("name", "plain"), [("a/b.csv.gz", "a/b.csv"), ("b.zst", "b"), ("b.csv", "b.csv"), ("-", "-")])
def test_the_suffix_of_a_compression_is_looked_through(name, plain):
    assert without_compression(name) == Path(plain)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        open_bytes(str(tmp_path / "nope"))
    with pytest.raises(DataError, match="is a folder"):
        open_bytes(str(tmp_path))


def test_size_is_known_of_plain_files_only(tmp_path):
    assert size_to_read(write(tmp_path, "12345")) == 5
    assert size_to_read(write(tmp_path, gzip.compress(b"12345"))) is None
    assert size_to_read("-") is None

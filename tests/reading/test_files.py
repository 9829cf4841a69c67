"""Opening of plain and compressed files, and errors for paths that are not files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import threading
import zlib
from pathlib import Path

import pytest
import zstandard

from embedctl.errors import DataError
from embedctl.reading import files
from embedctl.reading.files import known_size, open_bytes, readable_once, without_compression_suffix


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
        bz2.compress(b"text", 1),
        lzma.compress(b"text"),
        b"\xef\xbb\xbftext",
        gzip.compress("text".encode("utf-16")),
    ],
    ids=["plain", "gzip", "zstd", "zstd of two frames", "bzip2", "xz", "byte order mark", "UTF-16 in gzip"],
)
def test_the_first_bytes_determine_the_compression(tmp_path, content):
    with open_bytes(write(tmp_path, content, "name.unknown-suffix")) as stream:
        assert stream.read() == b"text"


def test_adding_a_compression_takes_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(
        files.DECOMPRESSORS, ".zz", (b"\x78\x9c", lambda stream: io.BytesIO(zlib.decompress(stream.read())))
    )
    with open_bytes(write(tmp_path, zlib.compress(b"text"))) as stream:
        assert stream.read() == b"text"
    assert without_compression_suffix("a.jsonl.zz") == Path("a.jsonl")


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


@pytest.mark.parametrize(
    ("content", "name", "hint"),
    [
        (b"PK\x03\x04rest", "a zip archive", "run `unzip "),
        (b"7z\xbc\xaf\x27\x1crest", "a 7z archive", "run `7z x "),
        (bytes(257) + b"ustar", "a tar archive", "run `tar -xf "),
        (gzip.compress(bytes(257) + b"ustar"), "a tar archive", "run `tar -xf "),
        (b"SQLite format 3\0", "an SQLite database", "convert it to JSON Lines"),
    ],
    ids=["zip", "7z", "tar", "tar.gz", "sqlite"],
)
def test_archives_and_databases_are_refused_by_name(tmp_path, content, name, hint):
    path = write(tmp_path, content, "with a space.zip")
    with pytest.raises(DataError, match=f"with a space.zip: the file is {name}, which is not read") as error:
        open_bytes(path)
    assert error.value.hint.startswith(hint)
    assert f"'{path}'" in error.value.hint or not hint.startswith("run")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_the_size_of_a_pipe_is_asked_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert known_size(str(tmp_path / "pipe")) is None
    assert readable_once(str(tmp_path / "pipe"))
    assert readable_once("-")
    assert not readable_once(write(tmp_path, "text"))
    assert not readable_once(str(tmp_path / "none"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_the_first_bytes_of_a_pipe_are_recognised_though_they_come_one_by_one(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def fill() -> None:
        with path.open("wb", buffering=0) as pipe:
            for byte in gzip.compress(b"text"):
                pipe.write(bytes([byte]))

    writer = threading.Thread(target=fill)
    writer.start()
    with open_bytes(str(path)) as stream:
        assert stream.read() == b"text"
    writer.join()

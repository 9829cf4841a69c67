"""Open data files, plain or compressed, in constant memory, and return their text in UTF-8.

The first bytes of a file, not its name, show how it is compressed and encoded. To add a compression, add one line in
`DECOMPRESSORS`; to name a format that is not read, add one line in `UNREADABLE`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shlex
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from zstandard import ZstdDecompressor, ZstdError

from embedctl.errors import ConfigError, DataError
from embedctl.reading.encodings import BOM, Utf8Reader, check_utf8, utf_16_variant

CHUNK = 1 << 20  # bytes per read


class _FullReader(io.RawIOBase):
    """The bytes of a pipe or decompressor; each read fills the whole buffer, so that the first one shows the format."""

    def __init__(self, source: Any, *closed_with: BinaryIO) -> None:
        self._source, self._closed_with = source, closed_with
        self._ended = False
        self._error: Exception | None = None  # why no more can be read

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """See `io.RawIOBase`. An error is raised after the bytes before it were returned."""
        filled = 0
        while filled < len(buffer) and not self._ended:
            try:
                data = self._source.read1(len(buffer) - filled)
            except READ_ERRORS as cause:
                self._error, data = cause, b""
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self._ended = not data
        if self._error and not filled:
            raise self._error
        return filled

    def close(self) -> None:
        """Close the source, and the compressed file that it reads."""
        super().close()
        for stream in (self._source, *self._closed_with):
            stream.close()


# Suffix -> the bytes with which a compressed file begins, and a function that returns its decompressed stream.
DECOMPRESSORS: dict[str, tuple[bytes | tuple[bytes, ...], Callable[[BinaryIO], Any]]] = {
    ".gz": (b"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    ".bz2": (tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)), bz2.BZ2File),
    ".xz": (b"\xfd7zXZ\0", lzma.LZMAFile),
    ".zst": (b"\x28\xb5\x2f\xfd", lambda stream: ZstdDecompressor().stream_reader(stream, read_across_frames=True)),
}
PARQUET = b"PAR1"  # with which a Parquet file begins
# The bytes with which a file that is not read begins, its format, and a command that unpacks it, if there is one.
UNREADABLE = {
    b"PK\x03\x04": ("a zip archive", "unzip"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x"),
    b"Rar!\x1a\x07": ("a rar archive", "unrar x"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "lz4 -d"),
    b"\x1f\x9d": ("compressed with compress", "uncompress"),
    b"ARROW1\0\0": ("an Arrow file", ""),
    b"SQLite format 3\0": ("an SQLite database", ""),
}
READ_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, ZstdError)  # raised while a damaged file is read


def open_bytes(path: str) -> BinaryIO:
    """Open a file and return the stream of its decompressed bytes; `-` is stdin.

    A text is returned in UTF-8 without a byte order mark.

    Raises:
        DataError: the file does not exist or cannot be opened, it is a folder, or its format or encoding is not read.
    """
    stream = _open(path)
    try:
        return _as_utf8(path, _decompressed(stream))
    except DataError:
        stream.close()
        raise


def _open(path: str) -> io.BufferedReader:
    try:
        raw: Any = sys.stdin.buffer if path == "-" else Path(path).open("rb", buffering=CHUNK)  # noqa: SIM115  the caller closes it
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder, not a data file", "give the path of a file") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", "give the path of an existing file") from None
    except OSError as cause:
        message = f"{path}: the file cannot be opened: {cause.strerror}"
        raise DataError(message, "give the path of a file that can be read") from None
    whole: io.BufferedReader = raw if path != "-" and raw.seekable() else io.BufferedReader(_FullReader(raw), CHUNK)
    return whole


def _decompressed(stream: io.BufferedReader) -> io.BufferedReader:
    start = peek(stream)
    for magic, decompress in DECOMPRESSORS.values():
        if start.startswith(magic):
            return io.BufferedReader(_FullReader(decompress(stream), stream), CHUNK)
    return stream


def _as_utf8(path: str, stream: io.BufferedReader) -> BinaryIO:
    """Return the stream, converted to UTF-8 without a byte order mark if it is a text."""
    head = peek(stream)
    for magic, (name, unpack) in UNREADABLE.items():
        if head.startswith(magic):
            command = f"run `{unpack} {shlex.quote(path)}` and give the file in it"
            hint = command if unpack else "convert it to JSON Lines"
            raise DataError(f"{path}: the file is {name}, which is not read", hint)
    if head[257:262] == b"ustar":
        hint = f"run `tar -xf {shlex.quote(path)}` and give a file in it"
        raise DataError(f"{path}: the file is a tar archive, which is not read", hint)
    if head.startswith(PARQUET):
        return stream
    if encoding := utf_16_variant(head):
        return io.BufferedReader(Utf8Reader(stream, encoding), CHUNK)
    if head.startswith(BOM):
        stream.read(len(BOM))
    else:
        check_utf8(path, head, complete=len(head) < CHUNK)
    return stream


def peek(stream: BinaryIO) -> bytes:
    """Return the first bytes of a stream without reading them; none if it is damaged, which its reader will notice."""
    try:
        return bytes(stream.peek(CHUNK))  # type: ignore[attr-defined]
    except READ_ERRORS:
        return b""


def readable_once(path: str) -> bool:
    """Return whether an input can be read only once: stdin (`-`), a named pipe, or process substitution."""
    return path == "-" or (Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir())


def check_readable_again(path: str, option: str, reason: str) -> None:
    """Check that an input can be read more than once; `reason` states which command needs it.

    Raises:
        ConfigError: the input is stdin or a pipe.
    """
    if readable_once(path):
        kind = "stdin" if path == "-" else "a pipe"
        message = f"{path}: {kind} can be read only once, but {reason}"
        raise ConfigError(message, f"write the rows to a file and give it with {option}")


def known_size(path: str) -> int | None:
    """Return the number of bytes to read from a file, or None if it is not known (compressed file, pipe, stdin).

    Raises:
        DataError: see `open_bytes`.
    """
    if readable_once(path):
        return None
    with open_bytes(path) as stream:
        return Path(path).stat().st_size if stream.seekable() else None


def without_compression_suffix(path: str) -> Path:
    """Return the path without .gz, .zst or another suffix of `DECOMPRESSORS`."""
    file = Path(path)
    return file.with_suffix("") if file.suffix.lower() in DECOMPRESSORS else file

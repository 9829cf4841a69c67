"""Open data files, plain or compressed, in constant memory. The first bytes of a file show how it is compressed.

To add a compression, add one line in `DECOMPRESSORS`.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from zstandard import ZstdDecompressor, ZstdError

from embedctl.errors import DataError

BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 20  # bytes per read


class _DecompressedReader(io.BufferedReader):
    """A buffered reader of decompressed bytes that also closes the compressed file."""

    def __init__(self, decompressor: Any, compressed: BinaryIO) -> None:
        super().__init__(decompressor, CHUNK)
        self._compressed = compressed

    def close(self) -> None:
        """Close the decompressor and the compressed file."""
        super().close()
        self._compressed.close()


# Suffix -> the bytes with which a compressed file begins, and a function that returns its decompressed stream.
DECOMPRESSORS: dict[str, tuple[bytes, Callable[[BinaryIO], Any]]] = {
    ".gz": (b"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    ".zst": (b"\x28\xb5\x2f\xfd", lambda stream: ZstdDecompressor().stream_reader(stream, read_across_frames=True)),
}
READ_ERRORS = (EOFError, OSError, zlib.error, ZstdError)  # raised while a damaged file is read


def open_bytes(path: str) -> BinaryIO:
    """Open a file and return the stream of its decompressed bytes; `-` is stdin.

    Raises:
        DataError: the file does not exist or cannot be opened, or it is a folder.
    """
    stream = _open(path)
    start = stream.peek(4)[:4]
    decompress = next((decompress for magic, decompress in DECOMPRESSORS.values() if start.startswith(magic)), None)
    return _DecompressedReader(decompress(stream), stream) if decompress else stream


def _open(path: str) -> io.BufferedReader:
    try:
        raw = sys.stdin.buffer if path == "-" else Path(path).open("rb", buffering=CHUNK)  # noqa: SIM115  the caller closes it
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder, not a data file", "give the path of a file") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", "give the path of an existing file") from None
    except OSError as cause:
        message = f"{path}: the file cannot be opened: {cause.strerror}"
        raise DataError(message, "give the path of a file that can be read") from None
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, CHUNK)  # type: ignore[arg-type]


def known_size(path: str) -> int | None:
    """Return the number of bytes to read from a file, or None if it is not known (compressed file, pipe, stdin).

    Raises:
        DataError: the file does not exist or cannot be opened, or it is a folder.
    """
    if path == "-":
        return None
    with open_bytes(path) as stream:
        if isinstance(stream, _DecompressedReader) or not stream.seekable():
            return None
        return Path(path).stat().st_size


def without_compression_suffix(path: str) -> Path:
    """Return the path without .gz, .zst or another suffix of `DECOMPRESSORS`."""
    file = Path(path)
    return file.with_suffix("") if file.suffix in DECOMPRESSORS else file

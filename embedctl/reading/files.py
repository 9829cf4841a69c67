"""Opening data files: plain or compressed, recognised by their first bytes, in constant memory.

To add a compression: one line in `OPENERS`.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from embedctl.errors import DataError

BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 20


class _Unpacked(io.BufferedReader):
    """A decompressor that closes the file below it, too."""

    def __init__(self, decompressor: Any, below: BinaryIO) -> None:
        super().__init__(decompressor, CHUNK)
        self._below = below

    def close(self) -> None:
        """Close both."""
        super().close()
        self._below.close()


# The suffix of a compression, the bytes with which its files begin, and what reads them.
OPENERS: dict[str, tuple[bytes, Callable[[BinaryIO], Any]]] = {
    ".gz": (b"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    ".zst": (
        b"\x28\xb5\x2f\xfd",
        lambda stream: zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True),
    ),
}
DAMAGE = (EOFError, OSError, zlib.error, zstandard.ZstdError)


def open_bytes(path: str) -> BinaryIO:
    """The decompressed bytes of a file; `-` is stdin.

    Raises:
        DataError: there is no such file, or it is a folder.
    """
    stream = _open(path)
    start = stream.peek(4)[:4]
    opener = next((opener for magic, opener in OPENERS.values() if start.startswith(magic)), None)
    return _Unpacked(opener(stream), stream) if opener else stream


def _open(path: str) -> io.BufferedReader:
    try:
        raw = sys.stdin.buffer if path == "-" else Path(path).open("rb", buffering=CHUNK)  # noqa: SIM115  the caller closes it
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder", "name a data file") from None
    except OSError as cause:
        raise DataError(f"{path}: {cause.strerror}", "check the name of the file") from None
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, CHUNK)  # type: ignore[arg-type]


def size_to_read(path: str) -> int | None:
    """The bytes that `documents` will go through, or None where that is not known beforehand: compressed, stdin.

    Raises:
        DataError: there is no such file, or it is a folder.
    """
    if path == "-":
        return None
    with open_bytes(path) as stream:
        return None if isinstance(stream, _Unpacked) or not stream.seekable() else Path(path).stat().st_size


def without_compression(path: str) -> Path:
    """The path without the suffix of a compression."""
    packed = Path(path)
    return packed.with_suffix("") if packed.suffix in OPENERS else packed

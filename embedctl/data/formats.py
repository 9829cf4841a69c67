"""Reading data files: JSON lines or one JSON array, plain, .gz or .zst, in constant memory.

What a file is follows from its first bytes, not from its name. To add a compression: one line in `OPENERS`; to add a
layout: one function and one line in `_layout`. Of two equal keys in an object the last one counts.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import zstandard

from embedctl.data.rows import Fault, Row, check, to_row
from embedctl.errors import DataError
from embedctl.reading.arrays import BrokenArrayError, elements

BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 20
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON value of a file, or what is wrong in its place. `raw` is its bytes, empty beside a fault."""

    line: int
    value: Any
    fault: Fault | None = None
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a file, not looked at yet, without their ends, and their numbers."""

    numbers: Sequence[int]
    raw: list[bytes]

    def cut(self, most: int) -> Iterator[Lines]:
        """The same lines, so many at a time."""
        pieces = (slice(at, at + most) for at in range(0, len(self.raw), most))
        return (type(self)(self.numbers[piece], self.raw[piece]) for piece in pieces)

    def documents(self) -> Iterator[Document]:
        """The JSON value of each line, or what is wrong with it."""
        for number, line in zip(self.numbers, self.raw, strict=True):
            try:
                yield Document(number, orjson.loads(line), None, line)
            except orjson.JSONDecodeError:
                yield _second_look(number, line) if line.strip() else self._nothing(number)

    def _nothing(self, number: int) -> Document:
        return _fault(number, "blank-line", "the line is blank")


class Elements(Lines):
    """Elements of an array, and the numbers of the lines on which they begin."""

    def _nothing(self, number: int) -> Document:
        return _fault(number, "not-json", "not JSON: a comma with no element before or after it")


class _Unpacked(io.BufferedReader):
    """A decompressor that closes the file below it, too."""

    def __init__(self, decompressor: Any, below: BinaryIO) -> None:
        super().__init__(decompressor, CHUNK)
        self._below = below

    def close(self) -> None:
        """Close both."""
        super().close()
        self._below.close()


OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\x28\xb5\x2f\xfd": lambda stream: zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True),
}
DAMAGE = (EOFError, OSError, zlib.error, zstandard.ZstdError)


def open_bytes(path: str) -> BinaryIO:
    """The decompressed bytes of a file; `-` is stdin.

    Raises:
        DataError: there is no such file, or it is a folder.
    """
    stream = _open(path)
    start = stream.peek(4)[:4]
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
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


def documents(path: str) -> Iterator[Document]:
    """The JSON values of a file with their line numbers; what can't be read is a fault in its place.

    Raises:
        DataError: the file can't be opened.
    """
    for piece in pieces(path):
        if isinstance(piece, Document):
            yield piece
        else:
            yield from piece.documents()


def pieces(path: str) -> Iterator[Document | Lines]:
    """The same, with lines or elements left together as they were read, for those who are quicker with many at once.

    Raises:
        DataError: the file can't be opened.
    """
    line = 0
    with open_bytes(path) as stream:
        try:
            for piece in _layout(stream):
                line = piece.line if isinstance(piece, Document) else max(piece.numbers, default=line)
                yield piece
        except DAMAGE as cause:
            message = f"the file is damaged and can't be read any further: {cause}"
            yield Document(line + 1, None, Fault("file", "damaged", message))


def _layout(stream: BinaryIO) -> Iterator[Document | Lines]:
    head = stream.peek(CHUNK)  # type: ignore[attr-defined]
    if head.startswith(BOM):
        stream.read(len(BOM))
        yield Document(1, None, Fault("file", "bom", "begins with a byte order mark: save it as UTF-8 without BOM"))
        head = head[len(BOM) :]
    yield from _array(stream) if head.lstrip()[:1] == b"[" else _lines(stream)


def _lines(stream: BinaryIO) -> Iterator[Lines]:
    first = 1
    begun: list[bytes] = []
    while chunk := stream.read1(CHUNK):  # type: ignore[attr-defined]
        *ended, rest = chunk.split(b"\n")
        if ended:
            ended[0] = b"".join((*begun, ended[0]))
            begun = []
            yield Lines(range(first, first + len(ended)), ended)
            first += len(ended)
        begun.append(rest)
    if any(begun):
        yield Lines([first], [b"".join(begun)])


def _array(stream: BinaryIO) -> Iterator[Document | Lines]:
    numbers: list[int] = []
    raw: list[bytes] = []
    size = 0
    try:
        for number, element in elements(stream):
            numbers.append(number)
            raw.append(element)
            size += len(element)
            if size >= CHUNK:
                yield Elements(numbers, raw)
                numbers, raw, size = [], [], 0
    except (BrokenArrayError, *DAMAGE) as cause:
        yield Elements(numbers, raw)
        if not isinstance(cause, BrokenArrayError):
            raise
        yield _fault(cause.line, "not-json", f"not JSON: {cause.message}", "file")
    else:
        yield Elements(numbers, raw)


def _fault(line: int, code: str, message: str, field: str = "line") -> Document:
    return Document(line, None, Fault(field, code, message))


def _second_look(number: int, raw: bytes) -> Document:
    """What orjson refuses: bytes that are no UTF-8, NaN (`check` will say where), half characters, or no JSON."""
    try:
        value = json.loads(raw.rstrip().decode("utf-8"))
    except UnicodeDecodeError as cause:
        return _fault(number, "not-utf8", f"byte {cause.start} is not UTF-8: convert the file to UTF-8")
    except json.JSONDecodeError as cause:
        return _fault(number + cause.lineno - 1, "not-json", _why_not_json(raw, cause))
    except (ValueError, RecursionError) as cause:
        return _fault(number, "not-json", f"not JSON: {cause}")
    torn = _torn_field(value)
    if torn:
        return _fault(number, "lone-surrogate", "holds half a character: one of a \\ud800 pair is missing", torn)
    return Document(number, value, None, raw)


def _why_not_json(raw: bytes, cause: json.JSONDecodeError) -> str:
    if raw.strip() in (b"{", b"}", b"},"):
        return "not JSON: an object must stand on one line"
    return f"not JSON: {cause.msg[0].lower()}{cause.msg[1:]} (column {cause.colno})"


def _torn_field(value: Any) -> str | None:
    """The first field of a value that can't be written as UTF-8: one half of a surrogate pair."""
    for name, part in value.items() if isinstance(value, dict) else [("line", value)]:
        try:
            json.dumps([name, part], ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            return name.encode("utf-8", "replace").decode("utf-8")
    return None


def read_rows(path: str) -> Iterator[Row]:
    """The rows of a file; blank lines are passed over.

    Raises:
        DataError: lists the first faults as `file:line: field: message`, or says that there are no rows.
    """
    faults: list[str] = []
    rows = 0
    for document in documents(path):
        if document.fault is not None and document.fault.code == "blank-line":
            continue
        found = [document.fault] if document.fault else check(document.value)
        faults += [f"{path}:{document.line}: {fault.field}: {fault.message}" for fault in found]
        if len(faults) >= SHOWN:
            break
        if not found and not faults:
            rows += 1
            yield to_row(document.value)
    if faults:
        raise DataError("\n  ".join(faults[:SHOWN]), f"`embedctl validate-data {path}` lists every fault")
    if not rows:
        raise DataError(f"{path}: has no rows", "see the README for the format of rows")

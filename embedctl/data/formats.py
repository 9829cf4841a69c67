"""Reading data files: JSON lines or one JSON array, plain, .gz or .zst, in constant memory.

What a file is follows from its first bytes, not from its name. To add a compression: one line in `OPENERS`; to add a layout:
one function and one line in `_layout`.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from embedctl.data.rows import Fault, Row, check, to_row
from embedctl.errors import DataError

BOM = b"\xef\xbb\xbf"
CHUNK = 1 << 20
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON value of a file, or what is wrong in its place. `raw` is its line, empty within an array."""

    line: int
    value: Any
    fault: Fault | None = None
    raw: bytes = b""


def _open_zst(stream: BinaryIO) -> BinaryIO:
    import zstandard

    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True), CHUNK)


def _open_gzip(stream: BinaryIO) -> BinaryIO:
    return io.BufferedReader(gzip.GzipFile(fileobj=stream), CHUNK)  # type: ignore[type-var, return-value]


OPENERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {b"\x1f\x8b": _open_gzip, b"\x28\xb5\x2f\xfd": _open_zst}


def open_bytes(path: str) -> BinaryIO:
    """The decompressed bytes of a file; `-` is stdin.

    Raises:
        DataError: there is no such file, or it is a folder.
    """
    try:
        raw: BinaryIO = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115  the caller closes it
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder", "name a data file") from None
    except OSError as cause:
        raise DataError(f"{path}: {cause.strerror}", "check the name of the file") from None
    stream = raw if hasattr(raw, "peek") else io.BufferedReader(raw, CHUNK)  # type: ignore[type-var]
    start = stream.peek(4)[:4]
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
    return opener(stream) if opener else stream


def documents(path: str) -> Iterator[Document]:
    """The JSON values of a file with their line numbers; what can't be read is a fault in its place.

    Raises:
        DataError: the file can't be opened, or its compressed bytes are damaged.
    """
    with open_bytes(path) as stream:
        try:
            yield from _layout(stream)
        except (EOFError, OSError) as cause:
            raise DataError(f"{path}: can't be read to its end: {cause}", "the compressed file is damaged") from cause


def _layout(stream: BinaryIO) -> Iterator[Document]:
    head = stream.peek(CHUNK)[:CHUNK]  # type: ignore[attr-defined]
    if head.startswith(BOM):
        stream.read(len(BOM))
        yield Document(1, None, Fault("file", "bom", "begins with a byte order mark: save it as UTF-8 without BOM"))
        head = head[len(BOM) :]
    yield from _array(stream) if head.lstrip()[:1] == b"[" else _lines(stream)


def _lines(stream: BinaryIO) -> Iterator[Document]:
    for number, line in enumerate(stream, start=1):
        try:
            yield Document(number, orjson.loads(line), None, line)
        except orjson.JSONDecodeError:
            yield _second_look(number, line)


def _second_look(number: int, line: bytes) -> Document:
    """What orjson refuses: blank lines, bytes that are no UTF-8, NaN (which gets its own message later), or no JSON."""
    if not line.strip():
        return Document(number, None, Fault("line", "blank-line", "the line is blank"))
    try:
        return Document(number, json.loads(line.decode("utf-8")), None, line)
    except UnicodeDecodeError as cause:
        return Document(number, None, Fault("line", "not-utf8", f"byte {cause.start} is not UTF-8: convert the file"))
    except ValueError as cause:
        return Document(number, None, Fault("line", "not-json", f"not JSON: {cause}"))


def _array(stream: BinaryIO) -> Iterator[Document]:
    """The elements of one big array, without holding it."""
    decoder, text, line = json.JSONDecoder(), "", 1
    reader = io.TextIOWrapper(stream, encoding="utf-8")
    place, ended = 0, False
    while True:
        while place < len(text) and text[place] in " \t\r\n,[":
            line += text[place] == "\n"
            place += 1
        if place < len(text) and text[place] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, place)
            whole = end < len(text) or ended
        except ValueError as cause:
            value, end, whole, fault = None, place, False, cause
        if whole:
            yield Document(line, value)
            line += text.count("\n", place, end)
            place = end
            continue
        if ended:
            message = "the array is not closed" if place >= len(text) else f"not JSON: {fault}"
            yield Document(line, None, Fault("file", "not-json", message))
            return
        try:
            more = reader.read(CHUNK)
        except UnicodeDecodeError:
            yield Document(line, None, Fault("file", "not-utf8", "holds bytes that are not UTF-8: convert the file"))
            return
        text, place, ended = text[place:] + more, 0, not more


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

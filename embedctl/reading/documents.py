"""From bytes to JSON values: one value per line, or one array, in constant memory.

What a file is follows from its first bytes, not from its name. To add a layout: one function and one line in `LAYOUTS`.
Of two equal keys in an object the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import orjson

from embedctl.reading.arrays import BrokenArrayError, elements
from embedctl.reading.files import BOM, CHUNK, DAMAGE, open_bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of a row. `code` is stable: scripts may rely on it."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON value of a file, or what is wrong in its place. `raw` is its bytes, empty beside a fault."""

    line: int
    value: Any
    fault: Problem | None = None
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a file, not looked at yet, without their ends, and their numbers."""

    NOTHING: ClassVar = ("blank-line", "the line is blank")
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
                yield _second_look(number, line) if line.strip() else _fault(number, *self.NOTHING)


class Elements(Lines):
    """Elements of an array, and the numbers of the lines on which they begin."""

    NOTHING = ("not-json", "not JSON: a comma with no element before or after it")


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
            yield Document(line + 1, None, Problem("file", "damaged", message))


def _layout(stream: BinaryIO) -> Iterator[Document | Lines]:
    head = stream.peek(CHUNK)  # type: ignore[attr-defined]
    if head.startswith(BOM):
        stream.read(len(BOM))
        yield Document(1, None, Problem("file", "bom", "begins with a byte order mark: save it as UTF-8 without BOM"))
        head = head[len(BOM) :]
    layout = next((layout for start, layout in LAYOUTS.items() if head.lstrip().startswith(start)), _lines)
    yield from layout(stream)


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
    numbers, raw, size = list[int](), list[bytes](), 0
    damage: Exception | None = None
    try:
        for number, element in elements(stream):
            numbers.append(number)
            raw.append(element)
            size += len(element)
            if size >= CHUNK:
                yield Elements(numbers, raw)
                numbers, raw, size = [], [], 0
    except (BrokenArrayError, *DAMAGE) as cause:
        damage = cause
    yield Elements(numbers, raw)
    if isinstance(damage, BrokenArrayError):
        yield _fault(damage.line, "not-json", f"not JSON: {damage.message}", "file")
    elif damage is not None:
        raise damage


# What a file's first bytes, white space and byte order mark left out, say of its layout; any other file is lines.
LAYOUTS: dict[bytes, Callable[[BinaryIO], Iterator[Document | Lines]]] = {b"[": _array}


def _fault(line: int, code: str, message: str, field: str = "line") -> Document:
    return Document(line, None, Problem(field, code, message))


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

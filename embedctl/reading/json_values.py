"""Read the JSON values of a file, one per line or from one array, in constant memory.

The first bytes of a file decide how it is read, not its name; the rows of a Parquet file are read like lines. To add a
layout, add one function and one line in `LAYOUTS`. If an object has the same key twice, the last value is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import orjson

from embedctl.reading.arrays import BrokenArrayError, split_array
from embedctl.reading.files import CHUNK, PARQUET, READ_ERRORS, open_bytes
from embedctl.reading.tables import json_rows

TABLE_HEADER = re.compile(rb'(?:[\w" ]*[,\t])*"?(?:query|pos)"?[,\t]')  # of a CSV or TSV file of rows
TABLE_MESSAGE = (
    "this is a CSV or TSV table, but a cell cannot hold the list of positives of a row. "
    'Write one JSON object per line, such as {"query": "...", "pos": ["..."]}, or a Parquet file with these columns'
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of a row. The values of `code` are stable, so scripts may rely on them."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JsonValue:
    """One JSON value of a file, or the problem that prevents reading it. `raw` is its bytes; empty with a problem."""

    line: int
    value: Any
    problem: Problem | None = None
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a file that have not been parsed yet, without line ends, and their line numbers."""

    EMPTY: ClassVar = ("blank-line", "the line is blank")  # code and message of the problem if a line is empty
    numbers: Sequence[int]
    raw: list[bytes]

    def split(self, size: int) -> Iterator[Lines]:
        """Yield the same lines in parts of at most `size` lines."""
        parts = (slice(start, start + size) for start in range(0, len(self.raw), size))
        return (type(self)(self.numbers[part], self.raw[part]) for part in parts)

    def parse(self) -> Iterator[JsonValue]:
        """Yield the JSON value of each line, or what is wrong with the line."""
        for number, line in zip(self.numbers, self.raw, strict=True):
            try:
                yield JsonValue(number, orjson.loads(line), None, line)
            except orjson.JSONDecodeError:
                yield _parse_leniently(number, line) if line.strip() else _with_problem(number, *self.EMPTY)


class ArrayElements(Lines):
    """Elements of an array that have not been parsed yet, and the numbers of the lines where they begin."""

    EMPTY = ("not-json", "not JSON: an element is missing before or after a comma")


def read_json_values(path: str) -> Iterator[JsonValue]:
    """Yield the JSON values of a file with their line numbers; a value that is invalid is yielded as a problem.

    Raises:
        DataError: the file cannot be opened.
    """
    with open_bytes(path) as stream:
        yield from parse_values(stream)


def parse_values(stream: BinaryIO) -> Iterator[JsonValue]:
    """Yield the JSON values of an open file. See `read_json_values`."""
    for block in _split_blocks(stream):
        if isinstance(block, JsonValue):
            yield block
        else:
            yield from block.parse()


def read_blocks(path: str) -> Iterator[JsonValue | Lines]:
    """Yield the content of a file in blocks of unparsed lines or elements, for callers that parse many at once.

    Problems of the file, and values that a layout parses itself, are yielded as `JsonValue`.

    Raises:
        DataError: the file cannot be opened.
    """
    with open_bytes(path) as stream:
        yield from _split_blocks(stream)


def _split_blocks(stream: BinaryIO) -> Iterator[JsonValue | Lines]:
    line = 0
    try:
        head = stream.peek(CHUNK).lstrip()  # type: ignore[attr-defined]
        default = _refuse_table if TABLE_HEADER.match(head) else _read_lines
        layout = next((layout for start, layout in LAYOUTS.items() if head.startswith(start)), default)
        for block in layout(stream):
            line = block.line if isinstance(block, JsonValue) else max(block.numbers, default=line)
            yield block
    except READ_ERRORS as cause:
        message = f"the file is damaged and cannot be read from this line on: {cause}"
        yield _with_problem(line + 1, "damaged", message, "file")


def _refuse_table(_stream: BinaryIO) -> Iterator[JsonValue]:
    yield _with_problem(1, "table", TABLE_MESSAGE, "file")


def _read_lines(stream: BinaryIO) -> Iterator[Lines]:
    first = 1
    unfinished: list[bytes] = []  # the parts of a line that continues in the next chunk
    while chunk := stream.read1(CHUNK):  # type: ignore[attr-defined]
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*unfinished, lines[0]))
            unfinished = []
            yield Lines(range(first, first + len(lines)), lines)
            first += len(lines)
        unfinished.append(rest)
    if any(unfinished):
        yield Lines([first], [b"".join(unfinished)])


def _read_array(stream: BinaryIO) -> Iterator[JsonValue | Lines]:
    numbers, raw, size = list[int](), list[bytes](), 0
    error: Exception | None = None
    try:
        for number, element in split_array(stream):
            numbers.append(number)
            raw.append(element)
            size += len(element)
            if size >= CHUNK:
                yield ArrayElements(numbers, raw)
                numbers, raw, size = [], [], 0
    except (BrokenArrayError, *READ_ERRORS) as cause:
        error = cause
    yield ArrayElements(numbers, raw)
    if isinstance(error, BrokenArrayError):
        yield _with_problem(error.line, "not-json", f"not JSON: {error}", "file")
    elif error is not None:
        raise error


def _read_parquet(stream: BinaryIO) -> Iterator[JsonValue | Lines]:
    """Yield the rows of a Parquet file as lines, numbered from 1."""
    if not stream.seekable():
        message = "this is a Parquet file, which cannot be read through a pipe or a second compression"
        yield _with_problem(1, "parquet", f"{message}. Write it to a file", "file")
        return
    first = 1
    for rows in json_rows(stream):
        yield Lines(range(first, first + len(rows)), rows)
        first += len(rows)


# The first bytes of a file, after white space, and its reader. Other files are read as lines.
LAYOUTS: dict[bytes, Callable[[BinaryIO], Iterator[JsonValue | Lines]]] = {b"[": _read_array, PARQUET: _read_parquet}


def _with_problem(line: int, code: str, message: str, field: str = "line") -> JsonValue:
    return JsonValue(line, None, Problem(field, code, message))


def _parse_leniently(number: int, raw: bytes) -> JsonValue:
    """Parse a value that orjson rejects. The json module accepts NaN; other errors are returned as problems.

    NaN and infinity are accepted here; `embedctl.data.rows.find_errors` reports them with the name of their field.
    """
    try:
        value = json.loads(raw.rstrip().decode("utf-8"))
    except UnicodeDecodeError as cause:
        return _with_problem(number, "not-utf8", f"byte {cause.start} is not valid UTF-8; convert the file to UTF-8")
    except json.JSONDecodeError as cause:
        return _with_problem(number + cause.lineno - 1, "not-json", _describe_json_error(raw, cause))
    except (ValueError, RecursionError) as cause:
        return _with_problem(number, "not-json", f"not JSON: {cause}")
    if field := _field_with_surrogate(value):
        half = "contains an unpaired surrogate such as \\ud800, which is only half of a character"
        message = f"the value {half}. Write the whole character, or remove the surrogate"
        return _with_problem(number, "lone-surrogate", message, field)
    return JsonValue(number, value, None, raw)


def _describe_json_error(raw: bytes, cause: json.JSONDecodeError) -> str:
    if raw.strip() in (b"{", b"}", b"},"):
        return "not JSON: an object must be on one line"
    return f"not JSON: {cause.msg[0].lower()}{cause.msg[1:]} (column {cause.colno})"


def _field_with_surrogate(value: Any) -> str | None:
    """Return the first field that contains an unpaired surrogate and so cannot be written as UTF-8, or None."""
    for name, part in value.items() if isinstance(value, dict) else [("line", value)]:
        try:
            json.dumps([name, part], ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            return name.encode("utf-8", "replace").decode("utf-8")
    return None

"""The texts of an input, whatever its format. To add a format: one function and one line in `READERS`.

Order and number are kept: an empty line is an empty text. What is no text at all is an error, not an empty text.
Files of columns (.parquet, dataset folders) are in tables.py.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedctl.errors import DataError
from embedctl.reading.documents import documents
from embedctl.reading.files import BOM, CHUNK, DAMAGE, open_bytes, size_to_read
from embedctl.reading.tables import count_rows, expect_column, read_tables, strings

COMPRESSED = (".gz", ".zst")
LONGEST_CELL = 2**31 - 1  # characters; csv's own limit of 131,072 is less than a long document


def read_lines(path: str, _field: str) -> Iterator[str]:
    """A text a line; an empty line is an empty text, so that line n is row n."""
    number = 0
    with open_bytes(path) as stream:
        try:
            for number, line in enumerate(stream, start=1):
                text = line.decode("utf-8").rstrip("\r\n")
                yield text.removeprefix("\ufeff") if number == 1 else text
        except UnicodeDecodeError as cause:
            raise DataError(
                f"{path}:{number}: line: byte {cause.start} is not UTF-8", "convert the file to UTF-8"
            ) from None
        except DAMAGE as cause:
            raise _damaged(path, number + 1, cause) from None


def read_objects(path: str, field: str) -> Iterator[str]:
    """`field` of each JSON object; the texts of a list follow one another; a JSON string is a text by itself."""
    for document in documents(path):
        fault, value = document.fault, document.value
        if fault is not None and fault.code == "blank-line":
            continue
        if fault is not None:
            raise DataError(f"{path}:{document.line}: {fault.field}: {fault.message}", "mend the line")
        yield from [value] if isinstance(value, str) else _texts(path, document.line, value, field)


def _texts(path: str, line: int, value: Any, field: str) -> list[str]:
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: {field}: an object or a string is expected", "one JSON object a line")
    if field not in value:
        has = ", ".join(value) or "no key"
        raise DataError(
            f"{path}:{line}: {field}: the key is missing; it has {has}", "name the key that holds the text with --field"
        )
    return strings(f"{path}:{line}", value[field], field)


def read_csv(path: str, field: str) -> Iterator[str]:
    """A column of a CSV file with a header; an empty cell is an empty text."""
    csv.field_size_limit(LONGEST_CELL)
    with open_bytes(path) as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        try:
            expect_column(f"{path}:1", field, list(rows.fieldnames or ()))
            for row in rows:
                yield strings(f"{path}:{rows.line_num}", row[field], field)[0]
        except (csv.Error, UnicodeDecodeError) as cause:
            raise DataError(
                f"{path}:{rows.line_num + 1}: {field}: {cause}", "a CSV file in UTF-8 is expected"
            ) from None
        except DAMAGE as cause:
            raise _damaged(path, rows.line_num + 1, cause) from None


def _damaged(path: str, line: int, cause: Exception) -> DataError:
    message = f"{path}:{line}: file: the file is damaged and can't be read any further: {cause}"
    return DataError(message, "get the file anew")


READERS: dict[str, Callable[[str, str], Iterator[str]]] = {
    ".json": read_objects,
    ".jsonl": read_objects,
    ".csv": read_csv,
    ".parquet": read_tables,
}


def _reader(path: str) -> Callable[[str, str], Iterator[str]]:
    if path != "-" and Path(path).is_dir():
        return read_tables
    name = Path(path)
    suffix = name.with_suffix("").suffix if name.suffix in COMPRESSED else name.suffix
    return READERS.get(suffix.lower(), read_lines)


def read_texts(path: str, field: str) -> Iterator[str]:
    """The texts of an input.

    Args:
        path: .txt, .json, .jsonl, .csv (each also .gz or .zst), .parquet, a dataset folder, or - for lines of stdin.
        field: the key or column that holds the text, or a list of texts.

    Raises:
        DataError: the input is missing, or something in it is no text.
    """
    if path != "-" and not Path(path).exists():
        raise DataError(f"{path}: no such file", "check --input")
    return _reader(path)(path, field)


def count_texts(path: str, field: str) -> int | None:
    """How many texts an input has, for a bar, or None where a fast look can't tell; blank lines count in JSON too."""
    reader = _reader(path)
    if path == "-" or reader is read_csv:
        return None
    if reader is read_tables:
        return count_rows(path, field)
    if not Path(path).is_file() or size_to_read(path) is None:
        return None
    return None if reader is read_objects and not _one_a_line(path, field) else _count_lines(path)


def _one_a_line(path: str, field: str) -> bool:
    """Whether the file is no JSON array and its first object holds one text."""
    with open_bytes(path) as stream:
        if stream.peek(CHUNK).removeprefix(BOM).lstrip()[:1] == b"[":  # type: ignore[attr-defined]
            return False
    first = next(documents(path), None)
    value = first.value if first is not None else None
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get(field), str))


def _count_lines(path: str) -> int:
    lines, last = 0, b"\n"
    with open_bytes(path) as stream:
        while block := stream.read(CHUNK):
            lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")

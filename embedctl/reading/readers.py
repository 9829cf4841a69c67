"""Records of a file, whatever its format, and their texts. To add a format: one function and one line in `READERS`.

Order and number are kept: an empty line is a record, too. Blank lines of JSON and of CSV are none. What is no text at
all is an error, not an empty text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from embedctl.errors import DataError
from embedctl.reading.documents import documents
from embedctl.reading.files import BOM, CHUNK, DAMAGE, open_bytes, size_to_read, without_compression
from embedctl.reading.records import Record, Wanted
from embedctl.reading.tables import count_rows, read_tables

Reader = Callable[[str, Wanted], Iterator[Record]]
LONGEST_CELL = 2**31 - 1  # characters; csv's own limit of 131,072 is less than a long document


def read_lines(path: str, _wanted: Wanted) -> Iterator[Record]:
    """A text per line; an empty line is an empty text, so that line n is row n."""
    number = 0
    with open_bytes(path) as stream:
        try:
            for number, line in enumerate(stream, start=1):
                text = line.decode("utf-8").rstrip("\r\n")
                yield Record(path, number, text.removeprefix("\ufeff") if number == 1 else text)
        except UnicodeDecodeError as cause:
            message = f"{path}:{number}: line: byte {cause.start} is not UTF-8"
            raise DataError(message, "convert the file to UTF-8") from None
        except DAMAGE as cause:
            raise _damaged(path, number + 1, cause) from None


def read_objects(path: str, wanted: Wanted) -> Iterator[Record]:
    """The JSON values of a file: one per line, or the elements of an array."""
    for document in documents(path):
        if document.fault is None:
            yield Record(path, document.line, document.value)
        elif document.fault.code != "blank-line":
            fault = document.fault
            raise DataError(f"{path}:{document.line}: {fault.field}: {fault.message}", wanted.line_hint)


def read_csv(path: str, wanted: Wanted) -> Iterator[Record]:
    """The rows of a CSV file with a header; an empty cell is an empty text."""
    csv.field_size_limit(LONGEST_CELL)
    with open_bytes(path) as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        try:
            wanted.among(f"{path}:1", list(rows.fieldnames or ()))
            for row in rows:
                yield Record(path, rows.line_num, row)
        except (csv.Error, UnicodeDecodeError) as cause:
            message = f"{path}:{rows.line_num + 1}: {wanted.columns[0]}: {cause}"
            raise DataError(message, "a CSV file in UTF-8 is expected") from None
        except DAMAGE as cause:
            raise _damaged(path, rows.line_num + 1, cause) from None


def _damaged(path: str, line: int, cause: Exception) -> DataError:
    message = f"{path}:{line}: file: the file is damaged and can't be read any further: {cause}"
    return DataError(message, "get the file anew")


# By the suffix of the file, behind which a compression may follow. What any other suffix means is for each use to say.
READERS: dict[str, Reader] = {".json": read_objects, ".jsonl": read_objects, ".csv": read_csv, ".parquet": read_tables}


def reader_of(path: str, otherwise: Reader) -> Reader:
    """What reads a file, a folder of tables, or `-` for stdin; `otherwise` where `READERS` does not know the suffix."""
    if path != "-" and Path(path).is_dir():
        return read_tables
    return READERS.get(without_compression(path).suffix.lower(), otherwise)


def read_texts(path: str, field: str) -> Iterator[str]:
    """The texts of an input; those of a list follow one another.

    Args:
        path: a file of any format in `READERS`, of lines if its suffix is another, a dataset folder, or - for stdin.
        field: the key or column that holds the text, or a list of texts.

    Raises:
        DataError: the input is missing, or something in it is no text.
    """
    if path != "-" and not Path(path).exists():
        raise DataError(f"{path}: no such file", "check --input")
    wanted = Wanted((field,), column_hint="name the column with --field", line_hint="mend the line")
    records = reader_of(path, otherwise=read_lines)(path, wanted)
    return (text for record in records for text in _texts(record, field))


def _texts(record: Record, field: str) -> list[str]:
    value = record.value
    if isinstance(value, str):
        return [value]
    if not isinstance(value, dict):
        raise DataError(f"{record.place}: {field}: an object or a string is expected", "one JSON object a line")
    if field not in value:
        message = f"{record.place}: {field}: the key is missing; it has {', '.join(value) or 'no key'}"
        raise DataError(message, "name the key that holds the text with --field")
    texts = value[field] if isinstance(value[field], list) else [value[field]]
    for text in texts:
        if not isinstance(text, str):
            what = f"a string or a list of strings is expected, not {json.dumps(text, default=str)[:60]}"
            raise DataError(f"{record.place}: {field}: {what}", "mend the row, or name another key with --field")
    return texts


def count_texts(path: str, field: str) -> int | None:
    """How many texts an input has, for a bar, or None where a fast look can't tell; blank lines count in JSON too."""
    count = COUNTS.get(reader_of(path, otherwise=read_lines))
    return count(path, field) if count and path != "-" else None


def _count_lines(path: str, _field: str) -> int | None:
    """The lines of a plain file."""
    if not _is_plain(path):
        return None
    lines, last = 0, b"\n"
    with open_bytes(path) as stream:
        while block := stream.read(CHUNK):
            lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


def _count_objects(path: str, field: str) -> int | None:
    """The lines of a plain file that is no JSON array and whose first object holds one text."""
    if not _is_plain(path):
        return None
    with open_bytes(path) as stream:
        if stream.peek(CHUNK).removeprefix(BOM).lstrip()[:1] == b"[":  # type: ignore[attr-defined]
            return None
    first = next(documents(path), None)
    value = first.value if first is not None else None
    one_a_line = isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get(field), str))
    return _count_lines(path, field) if one_a_line else None


def _is_plain(path: str) -> bool:
    """Whether the file can be read twice, and quickly."""
    return Path(path).is_file() and size_to_read(path) is not None


# Formats whose texts can be counted without reading them; others are read without knowing how many come.
COUNTS: dict[Reader, Callable[[str, str], int | None]] = {
    read_lines: _count_lines,
    read_objects: _count_objects,
    read_tables: count_rows,
}

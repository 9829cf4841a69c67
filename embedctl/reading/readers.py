"""Read the records of a file of any text format, and the texts of the records.

To add a format, add one function and one line in `READERS`.

Line n of a text file is record n, so an empty line is an empty text. Blank lines of JSON Lines and CSV files are
skipped. A value that is not a text is an error, not an empty text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from embedctl.errors import DataError
from embedctl.reading.files import BOM, CHUNK, READ_ERRORS, known_size, open_bytes, without_compression_suffix
from embedctl.reading.json_values import read_json_values
from embedctl.reading.records import ReadOptions, Record
from embedctl.reading.tables import count_rows, read_tables

Reader = Callable[[str, ReadOptions], Iterator[Record]]
MAX_CELL_CHARACTERS = 2**31 - 1  # the default limit of the csv module, 131,072, is too small for long documents


def read_lines(path: str, _options: ReadOptions) -> Iterator[Record]:
    """Yield one text per line; an empty line is an empty text, so that line n is record n.

    Raises:
        DataError: the file cannot be opened, is damaged, or is not UTF-8.
    """
    number = 0
    with open_bytes(path) as stream:
        try:
            for number, line in enumerate(stream, start=1):
                text = line.decode("utf-8").rstrip("\r\n")
                yield Record(path, number, text.removeprefix("\ufeff") if number == 1 else text)
        except UnicodeDecodeError as cause:
            message = f"{path}:{number}: line: byte {cause.start} is not valid UTF-8"
            raise DataError(message, "convert the file to UTF-8") from None
        except READ_ERRORS as cause:
            raise _damaged(path, number + 1, cause) from None


def read_objects(path: str, options: ReadOptions) -> Iterator[Record]:
    """Yield the JSON values of a file: one per line, or the elements of an array.

    Raises:
        DataError: the file cannot be opened or is damaged, or a line is not JSON.
    """
    for found in read_json_values(path):
        problem = found.problem
        if problem is None:
            yield Record(path, found.line, found.value)
        elif problem.code != "blank-line":
            raise DataError(f"{path}:{found.line}: {problem.field}: {problem.message}", options.line_hint)


def read_csv(path: str, options: ReadOptions) -> Iterator[Record]:
    """Yield the rows of a CSV file with a header; an empty cell is an empty text.

    Raises:
        DataError: the file cannot be opened, is damaged or is not valid CSV in UTF-8, or has none of the columns.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with open_bytes(path) as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        try:
            options.select_columns(f"{path}:1", list(rows.fieldnames or ()))
            for row in rows:
                yield Record(path, rows.line_num, row)
        except (csv.Error, UnicodeDecodeError) as cause:
            message = f"{path}:{rows.line_num + 1}: {options.columns[0]}: {cause}"
            raise DataError(message, "save the file as valid CSV in UTF-8") from None
        except READ_ERRORS as cause:
            raise _damaged(path, rows.line_num + 1, cause) from None


def _damaged(path: str, line: int, cause: Exception) -> DataError:
    message = f"{path}:{line}: file: the file is damaged and cannot be read from this line on: {cause}"
    return DataError(message, "download or create the file again")


# Suffix of a file, without the suffix of a compression -> its reader. Callers choose the reader of other suffixes.
READERS: dict[str, Reader] = {".json": read_objects, ".jsonl": read_objects, ".csv": read_csv, ".parquet": read_tables}


def reader_for(path: str, default: Reader) -> Reader:
    """Return the reader of a file or dataset folder; `default` for stdin (`-`) and for suffixes not in `READERS`."""
    if path != "-" and Path(path).is_dir():
        return read_tables
    return READERS.get(without_compression_suffix(path).suffix.lower(), default)


def read_texts(path: str, field: str) -> Iterator[str]:
    """Return the texts of an input. If the key or column `field` holds a list of texts, they follow one another.

    The input is a file with a suffix in `READERS`, a text file with one text per line, a dataset folder, or `-` for
    stdin.

    Raises:
        DataError: the input does not exist, cannot be read, or contains a value that is not a text.
    """
    if path != "-" and not Path(path).exists():
        raise DataError(f"{path}: no such file", "give an existing file with --input")
    options = ReadOptions((field,), column_hint="give the text column with --field", line_hint="fix the line")
    records = reader_for(path, default=read_lines)(path, options)
    return (text for record in records for text in _texts(record, field))


def _texts(record: Record, field: str) -> list[str]:
    value = record.value
    if isinstance(value, str):
        return [value]
    if not isinstance(value, dict):
        message = f"{record.location}: {field}: an object or a string is expected"
        raise DataError(message, "write one JSON object or string per line")
    if field not in value:
        message = f"{record.location}: {field}: the key is missing; existing keys: {', '.join(value) or 'none'}"
        raise DataError(message, "give the key that holds the text with --field")
    texts = value[field] if isinstance(value[field], list) else [value[field]]
    for text in texts:
        if not isinstance(text, str):
            problem = f"a string or a list of strings is expected, not {json.dumps(text, default=str)[:60]}"
            raise DataError(f"{record.location}: {field}: {problem}", "fix the row, or give another key with --field")
    return texts


def count_texts(path: str, field: str) -> int | None:
    """Return the number of texts of an input for a progress bar, or None if counting them would take too long.

    Blank lines of JSON Lines files are counted too.

    Raises:
        DataError: the input cannot be opened, or its tables are damaged.
    """
    count = COUNTERS.get(reader_for(path, default=read_lines))
    return count(path, field) if count and path != "-" else None


def _count_lines(path: str, _field: str) -> int | None:
    """Return the number of lines of a plain file, or None for other files."""
    if not _is_plain_file(path):
        return None
    lines, last = 0, b"\n"
    with open_bytes(path) as stream:
        while block := stream.read(CHUNK):
            lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


def _count_objects(path: str, field: str) -> int | None:
    """Return the number of lines of a plain JSON Lines file whose first object holds one text, or None for others."""
    if not _is_plain_file(path):
        return None
    with open_bytes(path) as stream:
        if stream.peek(CHUNK).removeprefix(BOM).lstrip()[:1] == b"[":  # type: ignore[attr-defined]
            return None
    value = next((found.value for found in read_json_values(path)), None)
    has_one_text = isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get(field), str))
    return _count_lines(path, field) if has_one_text else None


def _is_plain_file(path: str) -> bool:
    """Return whether `path` is a regular file without compression, which can be read twice and counted fast."""
    return Path(path).is_file() and known_size(path) is not None


# Readers of formats whose texts can be counted without parsing every record.
COUNTERS: dict[Reader, Callable[[str, str], int | None]] = {
    read_lines: _count_lines,
    read_objects: _count_objects,
    read_tables: count_rows,
}

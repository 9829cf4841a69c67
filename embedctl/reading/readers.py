"""Read the records of a file of any text format, and the texts of the records.

To add a format, add one function and one line in `READERS`. The suffix of a file determines its format, except for
Parquet; that of stdin, a pipe and a file with an unknown suffix follows from their first bytes.

Line n of a text file is record n, so an empty line is an empty text. Blank lines of JSON Lines and CSV files are
skipped. A value that is not a text is an error, not an empty text.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from embedctl.config.encoding import TEXT_FIELD
from embedctl.console import plural
from embedctl.errors import DataError
from embedctl.reading.files import CHUNK, PARQUET, READ_ERRORS, known_size, open_bytes, peek, without_compression_suffix
from embedctl.reading.json_values import parse_values, read_json_values
from embedctl.reading.records import ReadOptions, Record
from embedctl.reading.tables import count_rows, read_folder, read_parquet

Reader = Callable[[str, BinaryIO, ReadOptions], Iterator[Record]]  # receives the name of a file, and the open file
JSON_START = re.compile(rb'\s*+(\{\s*+"|\[\s*+["\[{])')  # how a JSON object or array begins
MAX_CELL_CHARACTERS = 2**31 - 1  # the default limit of the csv module, 131,072, is too small for long documents


def read_lines(path: str, stream: BinaryIO, _options: ReadOptions) -> Iterator[Record]:
    """Yield one text per line; an empty line is an empty text, so that line n is record n.

    Raises:
        DataError: the file is damaged or is not UTF-8.
    """
    number = 0
    try:
        for number, line in enumerate(stream, start=1):
            yield Record(path, number, line.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError as cause:
        message = f"{path}:{number}: line: byte {cause.start} is not valid UTF-8"
        raise DataError(message, "convert the file to UTF-8") from None
    except READ_ERRORS as cause:
        raise _damaged(path, number + 1, cause) from None


def read_objects(path: str, stream: BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yield the JSON values of a file: one per line, or the elements of an array.

    Raises:
        DataError: the file is damaged, or a line is not JSON.
    """
    for found in parse_values(stream):
        problem = found.problem
        if problem is None:
            yield Record(path, found.line, found.value)
        elif problem.code != "blank-line":
            raise DataError(f"{path}:{found.line}: {problem.field}: {problem.message}", options.line_hint)


def read_csv(path: str, stream: BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yield the rows of a CSV file with a header; an empty cell is an empty text.

    Raises:
        DataError: the file is damaged or is not valid CSV in UTF-8, or has none of the columns.
    """
    return _read_delimited(path, stream, options, ",")


def read_tsv(path: str, stream: BinaryIO, options: ReadOptions) -> Iterator[Record]:
    """Yield the rows of a file with a header and tabs between the cells; an empty cell is an empty text.

    Raises:
        DataError: as `read_csv`.
    """
    return _read_delimited(path, stream, options, "\t")


def _read_delimited(path: str, stream: BinaryIO, options: ReadOptions, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    rows = csv.reader((line.decode("utf-8") for line in stream), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        options.select_columns(f"{path}:1", header)
        for row in rows:
            if row and len(row) != len(header):
                counts = f"the row has {plural(len(row), 'field')}, but the header has {len(header)}"
                hint = "put double quotes around each text that contains a delimiter or a line break"
                raise DataError(f"{path}:{rows.line_num}: row: {counts}", hint)
            if row:
                yield Record(path, rows.line_num, dict(zip(header, row, strict=True)))
    except (csv.Error, UnicodeDecodeError) as cause:
        message = f"{path}:{rows.line_num + 1}: {options.columns[0]}: {cause}"
        raise DataError(message, "save the file as valid CSV in UTF-8") from None
    except READ_ERRORS as cause:
        raise _damaged(path, rows.line_num + 1, cause) from None


def _damaged(path: str, line: int, cause: Exception) -> DataError:
    """Return the error for a file that cannot be read or decompressed from a line on."""
    message = f"{path}:{line}: file: the file is damaged and cannot be read from this line on: {cause}"
    return DataError(message, "download or create the file again")


# Suffix of a file, without the suffix of a compression -> its reader.
READERS: dict[str, Reader] = {
    ".json": read_objects,
    ".jsonl": read_objects,
    ".ndjson": read_objects,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
}


def read_records(path: str, options: ReadOptions, default: Reader) -> Iterator[Record]:
    """Yield the records of a file, a dataset folder or stdin (`-`). `default` reads what `choose_reader` cannot tell.

    Raises:
        DataError: the file cannot be opened, or a record cannot be read.
    """
    if path != "-" and Path(path).is_dir():
        yield from read_folder(path, options)
        return
    with open_bytes(path) as stream:
        yield from choose_reader(path, stream, options.columns, default)(path, stream, options)


def choose_reader(path: str, stream: BinaryIO, columns: tuple[str, ...], default: Reader) -> Reader:
    """Return the reader of an open file, by its suffix or by its first bytes.

    A table is recognised by a header with at least two columns, one of them the first of `columns`.
    """
    head = peek(stream)
    suffix = without_compression_suffix(path).suffix.lower()
    if head.startswith(PARQUET):
        return read_parquet
    if suffix in READERS or suffix == ".txt":
        return READERS.get(suffix, default)
    if JSON_START.match(head):
        return read_objects
    header = head.split(b"\n", 1)[0].strip()
    delimited = {b"\t": read_tsv, b",": read_csv}
    cells = {reader: header.split(delimiter) for delimiter, reader in delimited.items()}
    name = columns[0].encode()
    return next((reader for reader, found in cells.items() if len(found) > 1 and name in found), default)


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
    records = read_records(path, options, default=read_lines if field == TEXT_FIELD else _refuse_field)
    return (text for record in records for text in _texts(record, field))


def _refuse_field(path: str, _stream: BinaryIO, options: ReadOptions) -> NoReturn:
    """Raise a DataError instead of reading lines, which have no keys or columns."""
    message = f"{path}: --field {options.columns[0]} has no effect: the file contains one text per line"
    raise DataError(message, "remove --field, or give a file with keys or columns")


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
    if path != "-" and Path(path).is_dir():
        return count_rows(path, field)
    if not _is_plain_file(path):
        return None
    with open_bytes(path) as stream:
        count = COUNTERS.get(choose_reader(path, stream, (field,), default=read_lines))
    return count(path, field) if count else None


def _count_lines(path: str, _field: str) -> int:
    """Return the number of lines of a plain file."""
    lines, last = 0, b"\n"
    with open_bytes(path) as stream:
        while block := stream.read(CHUNK):
            lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")


def _count_objects(path: str, field: str) -> int | None:
    """Return the number of lines of an uncompressed JSON Lines file whose first object has one text; else None."""
    with open_bytes(path) as stream:
        if peek(stream).lstrip()[:1] == b"[":
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
    read_parquet: count_rows,
}

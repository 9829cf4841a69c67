"""Reading the records of a file, whatever its format. To add a format: one function and one line in `READERS`.

Order and number are kept: an empty line is a record, too. Blank lines of JSON and of CSV are none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from embedctl.errors import DataError
from embedctl.reading.documents import documents
from embedctl.reading.files import DAMAGE, open_bytes, without_compression
from embedctl.reading.records import Record, Wanted
from embedctl.reading.tables import read_tables

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
            raise DataError(
                f"{path}:{number}: line: byte {cause.start} is not UTF-8", "convert the file to UTF-8"
            ) from None
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
            raise DataError(
                f"{path}:{rows.line_num + 1}: {wanted.columns[0]}: {cause}", "a CSV file in UTF-8 is expected"
            ) from None
        except DAMAGE as cause:
            raise _damaged(path, rows.line_num + 1, cause) from None


def _damaged(path: str, line: int, cause: Exception) -> DataError:
    message = f"{path}:{line}: file: the file is damaged and can't be read any further: {cause}"
    return DataError(message, "get the file anew")


# By the suffix of the file, behind which a compression may follow. What any other suffix means is for each use to say.
READERS: dict[str, Reader] = {".json": read_objects, ".jsonl": read_objects, ".csv": read_csv, ".parquet": read_tables}


def reader_of(path: str, otherwise: Reader) -> Reader:
    """What reads a file, or a folder of tables, or `-` for stdin.

    Args:
        path: of the input.
        otherwise: reads what has no suffix that `READERS` knows.
    """
    if path != "-" and Path(path).is_dir():
        return read_tables
    return READERS.get(without_compression(path).suffix.lower(), otherwise)

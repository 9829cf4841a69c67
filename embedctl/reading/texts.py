"""The texts of an input, one after the other, and how many there are.

What is no text at all is an error, not an empty text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from embedctl.errors import DataError
from embedctl.reading.documents import documents
from embedctl.reading.files import BOM, CHUNK, open_bytes, size_to_read
from embedctl.reading.readers import Reader, read_lines, read_objects, reader_of
from embedctl.reading.records import Record, Wanted
from embedctl.reading.tables import count_rows, read_tables


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
        has = ", ".join(value) or "no key"
        raise DataError(
            f"{record.place}: {field}: the key is missing; it has {has}",
            "name the key that holds the text with --field",
        )
    texts = value[field] if isinstance(value[field], list) else [value[field]]
    for text in texts:
        if not isinstance(text, str):
            raise DataError(
                f"{record.place}: {field}: a string or a list of strings is expected, "
                f"not {json.dumps(text, default=str)[:60]}",
                "mend the row, or name another key with --field",
            )
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

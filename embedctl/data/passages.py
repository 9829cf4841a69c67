"""Reading passages to search: lines of text, BEIR's corpus.jsonl, the texts of rows, or tables with their columns."""

from __future__ import annotations

from collections.abc import Iterator

from embedctl.data.rows import PROMPT_KEYS, SCORE_KEYS, TEXT_KEYS, check
from embedctl.errors import DataError
from embedctl.reading.files import without_compression
from embedctl.reading.readers import read_lines, read_objects, reader_of
from embedctl.reading.records import Record, Wanted

HINT = 'a passage is a line of a .txt file, {"text": ...} or a row'
ROW = Wanted(("text", "title", *TEXT_KEYS, *SCORE_KEYS, *PROMPT_KEYS), column_hint=HINT, line_hint=HINT)
BEIR = Wanted(("text", "title", "_id"), column_hint=HINT, line_hint=HINT)


def read_passages(path: str) -> Iterator[str]:
    """The passages of a file, in its order, empty ones left out.

    Raises:
        DataError: a line holds no passage.
    """
    otherwise = read_lines if without_compression(path).suffix == ".txt" else read_objects
    for record in reader_of(path, otherwise)(path, ROW):
        yield from (text for text in _passages(record) if text.strip())


def read_beir(path: str) -> dict[str, str]:
    """The texts of BEIR's corpus.jsonl or queries.jsonl, or of a table with its columns, by their id.

    Raises:
        DataError: a line has no text or no id, or the id of an earlier line.
    """
    texts: dict[str, str] = {}
    for record in reader_of(path, otherwise=read_objects)(path, BEIR):
        text, key = _titled(record), record.value.get("_id")
        if not isinstance(key, str | int):
            raise DataError(f"{record.place}: _id: a string is expected", 'BEIR\'s lines are {"_id": ..., "text": ...}')
        if str(key) in texts:
            raise DataError(f"{record.place}: _id: {key!r} stands on an earlier line, too", "each _id must occur once")
        texts[str(key)] = text
    return texts


def _passages(record: Record) -> list[str]:
    value = record.value
    if isinstance(value, str):
        return [value.strip()]
    if not isinstance(value, dict) or "pos" not in value:
        return [_titled(record)]
    if faults := check(value):
        message = f"{record.place}: {faults[0].field}: {faults[0].message}"
        raise DataError(message, f"see `embedctl validate-data {record.file}`")
    return [*value["pos"], *(value.get("neg") or ())]


def _titled(record: Record) -> str:
    """Title, a space, text."""
    value = record.value
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise DataError(f"{record.place}: text: a string is expected", HINT)
    return f"{value.get('title') or ''} {value['text']}".strip()

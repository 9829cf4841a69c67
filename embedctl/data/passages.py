"""Read passages from text lines, BEIR files, training rows, or tables with the same columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from embedctl.data.rows import PROMPT_KEYS, SCORE_KEYS, TEXT_KEYS, find_errors
from embedctl.errors import DataError
from embedctl.reading.readers import read_lines, read_objects, read_records
from embedctl.reading.records import ReadOptions, Record
from embedctl.shell import embedctl_command

PASSAGE_HINT = 'write passages as lines of a .txt file, as records with "text", or as rows with "query" and "pos"'
BEIR_HINT = 'write one record per text, with "_id" and "text"; "title" is optional'
PASSAGE_OPTIONS = ReadOptions(("text", "title", *TEXT_KEYS, *SCORE_KEYS, *PROMPT_KEYS), PASSAGE_HINT, PASSAGE_HINT)
BEIR_OPTIONS = ReadOptions(("text", "title", "_id"), BEIR_HINT, BEIR_HINT)


class Passage(NamedTuple):
    """A passage, and its text without its title if it has a title."""

    text: str
    untitled: str | None = None


def read_passages(path: str) -> Iterator[Passage]:
    """Yield the passages of a file in the order of the file, without empty ones.

    Raises:
        DataError: a record contains no passage.
    """
    for record in read_records(path, PASSAGE_OPTIONS, default=read_lines):
        yield from (passage for passage in _passages_of(record) if passage.text.strip())


def read_beir(path: str) -> dict[str, str]:
    """Return the texts of BEIR's corpus.jsonl or queries.jsonl, or of a table with the same columns, by their `_id`.

    Raises:
        DataError: a record has no text or no `_id`, or the `_id` of an earlier record.
    """
    texts: dict[str, str] = {}
    for record in read_records(path, BEIR_OPTIONS, default=read_objects):
        text, key = _title_and_text(record, BEIR_HINT).text, record.value.get("_id")
        if not isinstance(key, str | int):
            message = "the key is missing, or its value is neither a string nor an integer"
            raise DataError(f"{record.location}: _id: {message}", BEIR_HINT)
        if str(key) in texts:
            message = f"{record.location}: _id: an earlier record has the same _id, {key!r}"
            raise DataError(message, "give each record a different _id")
        texts[str(key)] = text
    return texts


def _passages_of(record: Record) -> list[Passage]:
    value: Any = record.value
    if isinstance(value, str):
        return [Passage(value.strip())]
    if not isinstance(value, dict) or "pos" not in value:
        return [_title_and_text(record, PASSAGE_HINT)]
    if errors := find_errors(value):
        message = f"{record.location}: {errors[0].field}: {errors[0].message}"
        hint = f"run `{embedctl_command('validate-data', record.file)}` to list all errors, and fix the rows"
        raise DataError(message, hint)
    return [Passage(text) for text in (*value["pos"], *(value.get("neg") or ()))]


def _title_and_text(record: Record, hint: str) -> Passage:
    """Return the passage of a title, if there is one, and a text, separated by a space."""
    value = record.value
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise DataError(f"{record.location}: text: the key is missing, or its value is not a string", hint)
    title, text = value.get("title") or "", value["text"].strip()
    return Passage(f"{title} {text}".strip(), text if title and text else None)

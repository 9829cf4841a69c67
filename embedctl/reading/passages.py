"""Reading passages to search: lines of text, BEIR's corpus.jsonl or the texts of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedctl.data.rows import check
from embedctl.errors import DataError
from embedctl.reading.documents import documents
from embedctl.reading.texts import read_lines

LINES = (".txt", ".txt.gz", ".txt.zst")
HINT = 'a passage is a line of a .txt file, {"text": ...} or a row'


def values(path: str) -> Iterator[tuple[int, Any]]:
    """Line number and JSON value of what a file holds; blank lines are passed over.

    Raises:
        DataError: something in it can't be read.
    """
    for document in documents(path):
        if document.fault is None:
            yield document.line, document.value
        elif document.fault.code != "blank-line":
            raise DataError(f"{path}:{document.line}: {document.fault.field}: {document.fault.message}", HINT)


def titled(path: str, line: int, value: Any) -> str:
    """The text of a BEIR passage: title, a space, text.

    Raises:
        DataError: it has no text.
    """
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise DataError(f"{path}:{line}: text: a string is expected", HINT)
    return f"{value.get('title') or ''} {value['text']}".strip()


def read_passages(path: str) -> Iterator[str]:
    """The passages of a file, in its order, empty ones left out.

    Raises:
        DataError: a line holds no passage.
    """
    if Path(path).name.endswith(LINES):
        yield from (line.strip() for line in read_lines(path, "") if line.strip())
        return
    for line, value in values(path):
        texts = (
            _texts_of_row(path, line, value)
            if isinstance(value, dict) and "pos" in value
            else [titled(path, line, value)]
        )
        yield from (text for text in texts if text.strip())


def _texts_of_row(path: str, line: int, value: dict[str, Any]) -> list[str]:
    faults = check(value)
    if faults:
        raise DataError(
            f"{path}:{line}: {faults[0].field}: {faults[0].message}", f"see `embedctl validate-data {path}`"
        )
    return [*value["pos"], *(value.get("neg") or ())]

"""What the readers of all text formats return, and what they are told about its use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from embedctl.errors import DataError


class Record(NamedTuple):
    """One record of a file: a line of text, a JSON value, or a row of a table as a mapping of its columns.

    Attributes:
        file: where it stands.
        line: its line in the file, or its row in the table, from 1.
        value: a text or a mapping; in JSON it may be anything else, which is for the user of the record to refuse.
    """

    file: str
    line: int
    value: Any

    @property
    def place(self) -> str:
        """`file:line`, as messages begin."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is used of the records, and the next action to name where a file does not have it.

    Args:
        columns: those that are used, the one that holds the text first. A reader of tables reads no others.
        column_hint: for a table that has none of them.
        line_hint: for a line that can't be read.
    """

    columns: tuple[str, ...]
    column_hint: str
    line_hint: str

    def among(self, where: str, columns: Sequence[str]) -> list[str]:
        """Those of a table's columns that are used.

        Raises:
            DataError: there are none; `where` begins the message.
        """
        found = [name for name in columns if name in self.columns]
        if not found:
            has = ", ".join(columns) or "no columns"
            raise DataError(f"{where}: {self.columns[0]}: no such column; it has {has}", self.column_hint)
        return found

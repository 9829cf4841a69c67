"""The records that the readers of all text formats return, and the options that the readers receive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from embedctl.errors import DataError


class Record(NamedTuple):
    """One record of a file: a line of text, a JSON value, or a row of a table as a mapping from column to value."""

    file: str
    line: int  # line number in the file, or row number in the table, from 1
    value: Any  # a string or a mapping. A JSON file may contain any other value, which the caller has to check.

    @property
    def location(self) -> str:
        """`file:line`, with which error messages begin."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The columns to read, and the hints of error messages."""

    columns: tuple[str, ...]  # used by the caller, the main text column first; readers of tables read no others
    column_hint: str  # hint of the error for a table that has none of these columns
    line_hint: str  # hint of the error for a line that cannot be read

    def select_columns(self, location: str, existing: Sequence[str]) -> list[str]:
        """Return the columns to read among the existing columns of a table, in the order of the table.

        Raises:
            DataError: the table has none of them; the message begins with `location`.
        """
        selected = [name for name in existing if name in self.columns]
        if not selected:
            names = ", ".join(existing) or "none"
            message = f"{location}: {self.columns[0]}: no such column; existing columns: {names}"
            raise DataError(message, self.column_hint)
        return selected

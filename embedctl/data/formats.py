"""The rows of a data file, checked."""

from __future__ import annotations

from collections.abc import Iterator

from embedctl.data.rows import Row, check, to_row
from embedctl.errors import DataError
from embedctl.reading.documents import documents

SHOWN = 20


def read_rows(path: str) -> Iterator[Row]:
    """The rows of a file; blank lines are passed over.

    Raises:
        DataError: lists the first faults as `file:line: field: message`, or says that there are no rows.
    """
    faults: list[str] = []
    rows = 0
    for document in documents(path):
        if document.fault is not None and document.fault.code == "blank-line":
            continue
        found = [document.fault] if document.fault else check(document.value)
        faults += [f"{path}:{document.line}: {fault.field}: {fault.message}" for fault in found]
        if len(faults) >= SHOWN:
            break
        if not found and not faults:
            rows += 1
            yield to_row(document.value)
    if faults:
        raise DataError("\n  ".join(faults[:SHOWN]), f"`embedctl validate-data {path}` lists every fault")
    if not rows:
        raise DataError(f"{path}: has no rows", "see the README for the format of rows")

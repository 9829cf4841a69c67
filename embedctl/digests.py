"""Sizes, times and digests of the files of a folder, with which a damaged file is recognised before it is used.

The content of a file is read again only if its size is right and its time differs from the recorded one, for example
after the folder was copied. Files are flushed to disk before they are recorded, so a power cut cannot leave a file with
the recorded time and other content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict


class FileRecord(TypedDict):
    """What is recorded of one file."""

    bytes: int
    time_ns: int  # time of the last change
    sha256: str


def digest_file(path: Path) -> str:
    """Return the SHA-256 digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record_files(folder: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    """Return the records of files of a folder, by name."""
    return {name: record_file(folder / name) for name in names}


def record_file(path: Path) -> FileRecord:
    """Return the record of a file."""
    status = path.stat()
    return {"bytes": status.st_size, "time_ns": status.st_mtime_ns, "sha256": digest_file(path)}


def find_damage(folder: Path, records: Mapping[str, FileRecord]) -> str | None:
    """Return which file differs from its record, and how; None if all files are as recorded."""
    for name, recorded in records.items():
        problem = file_problem(folder / name, recorded)
        if problem:
            return f"{name} {problem}"
    return None


def file_problem(path: Path, recorded: FileRecord) -> str | None:
    """Return how a file differs from its record, such as "is missing"; None if it does not differ."""
    try:
        status = path.stat()
        if status.st_size != recorded["bytes"]:
            return f"has {status.st_size:,} bytes instead of {recorded['bytes']:,}"
        if status.st_mtime_ns != recorded["time_ns"] and digest_file(path) != recorded["sha256"]:
            return "has another content than was written"
    except OSError as cause:
        return "is missing" if isinstance(cause, FileNotFoundError) else f"cannot be read: {cause.strerror}"
    return None

"""Sizes and digests of the files of a folder, with which a damaged file is recognised before it is used.

A folder that was written, or found undamaged, is recorded in the cache with the times of its files. Their content is
read again only if a time has changed since, for example after the folder was copied. Files are flushed to disk before
they are listed, so a power cut cannot leave a file with the recorded time and other content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

from embedctl.outputs import is_recorded, record, was_recorded

CHECKED = "checked files"  # the content of a record: see `embedctl.outputs.record`


class FileFacts(TypedDict):
    """Size and digest of a file."""

    bytes: int
    sha256: str


def digest_file(path: Path) -> str:
    """Return the SHA-256 digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(folder: Path, names: Iterable[str]) -> dict[str, FileFacts]:
    """Return size and digest of files of a folder, by name."""
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": digest_file(folder / name)} for name in names}


def is_file_list(value: Any) -> TypeGuard[dict[str, FileFacts]]:
    """Return whether a value of a JSON file has the form of the result of `list_files`."""
    types = {"bytes": int, "sha256": str}
    return isinstance(value, dict) and all(
        isinstance(facts, dict) and all(isinstance(facts.get(name), kind) for name, kind in types.items())
        for facts in value.values()
    )


def mark_checked(folder: Path, written: Path | None = None) -> None:
    """Record that the files of a folder are undamaged; `written` is the temporary folder with these files."""
    record(folder, CHECKED, written)


def find_damage(folder: Path, files: Mapping[str, FileFacts]) -> str | None:
    """Return which file of a folder is not as listed, and how; None if all files are."""
    if is_recorded(folder):
        return None
    for name, facts in files.items():
        problem = _file_problem(folder / name, facts)
        if problem:
            return f"{name} {problem}"
    mark_checked(folder)
    return None


def find_change(path: Path, facts: FileFacts) -> str | None:
    """Return how a file that any command may write differs from the listed one; None if it does not."""
    content = f"{CHECKED}, sha256 {facts['sha256']}"
    if was_recorded(path, content):
        return None
    problem = _file_problem(path, facts)
    if problem is None:
        record(path, content)
    return problem


def _file_problem(path: Path, facts: FileFacts) -> str | None:
    try:
        size = path.stat().st_size
        if size != facts["bytes"]:
            return f"has {size:,} bytes instead of {facts['bytes']:,}"
        return "was changed after it was written" if digest_file(path) != facts["sha256"] else None
    except OSError as cause:
        return "is missing" if isinstance(cause, FileNotFoundError) else f"cannot be read: {cause.strerror}"

"""Write files and folders atomically: under a temporary name, which is renamed at the end. Read small JSON files.

A temporary name is unpredictable and is created exclusively, so an existing link of this name is never followed. An
error of writing, such as a full disk, becomes an OutputError that names the output. See outputs.py for the check
whether an output may be replaced.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from embedctl.errors import ConfigError
from embedctl.write_errors import TEMPORARY_NAME, writing


def temporary_for(path: Path) -> Path:
    """Return an unused, unpredictable name beside `path` for a temporary file or folder."""
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.tmp")


@contextmanager
def atomic_path(path: Path, *, complete: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield an empty temporary file for code that opens it by name; rename it to `path`, or remove it after an error.

    The folder of the file is created if it does not exist, also if it was removed while the command ran.
    `complete` is called with the temporary file when it is complete, before it is renamed.

    Raises:
        OutputError: the file cannot be written.
    """
    path = path.resolve() if path.is_symlink() else path  # a link of the user is kept
    temporary = temporary_for(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            if complete:
                complete(temporary)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(
    path: Path, mode: str = "w", *, sync: bool = False, complete: Callable[[Path], None] | None = None
) -> Iterator[IO[Any]]:
    """Open a temporary file; rename it to `path` at the end, or remove it after an error.

    The mode is w for text in UTF-8 or wb for bytes; with `sync`, the file is flushed to disk before it is renamed.
    `complete` is called as by `atomic_path`.
    """
    with atomic_path(path, complete=complete) as temporary:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
        if sync:
            sync_path(temporary)


def write_atomically(path: Path, text: str, *, complete: Callable[[Path], None] | None = None) -> None:
    """Write a text file; if the process is killed, `path` is either unchanged or complete."""
    with atomic_file(path, complete=complete) as stream:
        stream.write(text)


@contextmanager
def atomic_folder(
    folder: Path, *, sync: bool = False, complete: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Yield an empty temporary folder; rename it to `folder` at the end, or remove it after an error.

    An existing folder is replaced. With `sync`, all files are flushed to disk before the folder is renamed.
    """
    folder = folder.resolve() if folder.is_symlink() else folder  # a link of the user is kept
    temporary = temporary_for(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            if sync:
                sync_tree(temporary)
            if complete:
                complete(temporary)
            replace_folder(folder, temporary)
            if sync:
                sync_path(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(folder: Path, complete: Path) -> None:
    """Rename the folder `complete` to `folder`. An existing folder is removed only after it was replaced."""
    if not folder.exists():
        complete.replace(folder)
        return
    old = temporary_for(folder)
    folder.replace(old)
    try:
        complete.replace(folder)
    except OSError:
        old.replace(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_temporary_files(path: Path) -> None:
    """Remove temporary files and folders of `path` that a killed process left. The caller holds the output's lock.

    FOLDER/* stands for all files of a folder.
    """
    for found in path.parent.glob(".*.tmp"):
        match = TEMPORARY_NAME.fullmatch(found.name)
        if match and path.name[:200] in (match["name"], "*"):
            remove(found)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists. A link is never followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def build_once(folder: Path, build: Callable[[Path], None], is_valid: Callable[[Path], bool] = Path.exists) -> Path:
    """Build a folder unless it exists, and return it. One process builds it while other processes wait.

    Args:
        folder: the result.
        build: writes the content into the empty folder that it receives.
        is_valid: whether the existing folder can be used; else it is built again.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not is_valid(folder):
            remove_temporary_files(folder)
            with atomic_folder(folder, sync=True) as work:
                build(work)
    return folder


def check_writable(folder: Path, output: str, hint: str) -> None:
    """Create a folder and its parents, and check that files can be written to it.

    Raises:
        ConfigError: they cannot; the message names `output`, the option with its value.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as cause:
        raise ConfigError(f"{output}: cannot be written: {cause.strerror}", hint) from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if the file is missing or damaged, or contains another value."""
    content = read_json(path)
    return content if isinstance(content, dict) else {}


def sync_tree(folder: Path) -> None:
    """Flush all files under a folder, and the folder itself, to disk."""
    for path in [*folder.rglob("*"), folder]:
        sync_path(path)


def sync_path(path: Path) -> None:
    """Flush a file, or the directory entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

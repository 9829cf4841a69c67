"""Files and folders that are whole or not there: written under a temporary name, and renamed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from embedctl.errors import ConfigError


def temporary_for(path: Path) -> Path:
    """The hidden name beside `path` under which it is written."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name for a writer that opens its file itself; renamed to `path` if all goes well, else removed."""
    temporary = temporary_for(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path, mode: str = "w", *, sync: bool = False) -> Iterator[IO[Any]]:
    """A temporary file that becomes `path` if all goes well, and is removed otherwise.

    Args:
        path: replaced if it exists.
        mode: w for text in UTF-8, wb for bytes.
        sync: whether the file is on the disk before it has its name.
    """
    with atomic_path(path) as temporary:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
        if sync:
            sync_path(temporary)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is never seen half-written, whenever the process is killed."""
    with atomic_file(path) as stream:
        stream.write(text)


@contextmanager
def atomic_folder(folder: Path, *, sync: bool = False) -> Iterator[Path]:
    """An empty folder to write in, which takes the place of `folder` if all goes well, and is removed otherwise.

    Args:
        folder: replaced if it exists; its parents are created.
        sync: whether every file is on the disk before the folder has its name.
    """
    temporary = temporary_for(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if sync:
            sync_tree(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
        if sync:
            sync_path(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """`folder`, written by `build` if no earlier process did; one process builds while the others wait.

    Args:
        folder: the result.
        build: writes into the empty folder that it is given.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with atomic_folder(folder) as work:
                build(work)
    return folder


def expect_writable(folder: Path, output: str, hint: str) -> None:
    """Create a folder and check that files can be written in it.

    Raises:
        ConfigError: they can't; the message names `output`, an option and its value, and the next action is `hint`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as cause:
        raise ConfigError(f"{output}: can't be written: {cause.strerror}", hint) from None


def sync_tree(folder: Path) -> None:
    """Make sure that every file under a folder, and the folder, is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync_path(path)


def sync_path(path: Path) -> None:
    """Make sure that a file, or the list of names of a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Write files and folders atomically: under a temporary name, which is renamed at the end."""

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
    """Return the hidden temporary name beside `path`."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name for code that opens the file itself; rename it to `path`, or remove it after an error."""
    temporary = temporary_for(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path, mode: str = "w", *, sync: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary file; rename it to `path` at the end, or remove it after an error.

    The mode is w for text in UTF-8 or wb for bytes; with `sync`, the file is flushed to disk before it is renamed.
    """
    with atomic_path(path) as temporary:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
        if sync:
            sync_path(temporary)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file; if the process is killed, `path` is either unchanged or complete."""
    with atomic_file(path) as stream:
        stream.write(text)


@contextmanager
def atomic_folder(folder: Path, *, sync: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder; rename it to `folder` at the end, or remove it after an error.

    An existing folder is replaced. With `sync`, all files are flushed to disk before the folder is renamed.
    """
    temporary = temporary_for(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if sync:
            for path in [*temporary.rglob("*"), temporary]:
                sync_path(path)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
        if sync:
            sync_path(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Build a folder unless it exists, and return it. One process builds it while other processes wait.

    `build` writes the content into the empty folder that it receives.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with atomic_folder(folder) as work:
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


def sync_path(path: Path) -> None:
    """Flush a file, or the directory entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

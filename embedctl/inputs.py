"""Sizes and times of files, and detection of input files that change while a command reads them.

Without this check, a result could contain parts of two versions of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from embedctl.errors import DataError

T = TypeVar("T")
FileStates = dict[str, list[int]]  # path of a file to its size (bytes) and the time of its last change (ns)


def file_states(path: Path) -> FileStates | None:
    """Return the state of a file, or of the files and folders in a folder; None if the path cannot be read.

    The paths are relative to `path`. Equal states mean that the content did not change.
    """
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return {str(file.relative_to(path)): [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    except OSError:
        return None


@dataclass(frozen=True)
class InputFiles:
    """The states of input files at one moment."""

    states: dict[Path, FileStates | None]  # per file; None if it cannot be read

    @classmethod
    def of(cls, paths: Iterable[str | Path]) -> InputFiles:
        """Record the files; a folder stands for all files in it. Pipes and other special files are left out."""
        files = [file for path in paths for file in _files_of(Path(path))]
        return cls({file: file_states(file) for file in files})

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check at the end of a with-block, also after an error in it, that the files did not change.

        Raises:
            DataError: a file changed, or was removed.
        """
        try:
            yield
        finally:
            self.check()

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items that are read from the files, and check after the last one that the files did not change.

        Raises:
            DataError: a file changed, or was removed.
        """
        with self.unchanged():
            yield from items

    def check(self) -> None:
        """Check that the files did not change since they were recorded.

        Raises:
            DataError: a file changed, or was removed.
        """
        for path, recorded in self.states.items():
            state = file_states(path)
            if state != recorded:
                what = "was removed" if state is None else "changed"
                message = f"{path}: the file {what} while the command read it; nothing was written"
                raise DataError(message, "run the command again when the file no longer changes")


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path] if path.is_file() else []

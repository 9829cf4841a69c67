"""The outputs of a command: which existing files it may replace, and a lock while it writes them.

An existing file is replaced without `--overwrite` only if embedctl wrote it as the same output and it was not changed
since. For this, size and time of every finished output are recorded in the cache folder. The output folder of training
is left out here: the folder itself lists its files (run_folder.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedctl.errors import ConfigError, OutputError
from embedctl.files import check_writable, read_json_object, remove, remove_temporary_files, write_atomically
from embedctl.inputs import file_states
from embedctl.locks import LOCK_FILE, acquire
from embedctl.resources import private_cache
from embedctl.signals import deferred_stop_signals


@dataclass(frozen=True)
class Output:
    """A file or folder that a command writes.

    Args:
        option: the option that names it, or from which its name is derived.
        path: where it is written.
        content: what is written, for example "embeddings"; an output with other content is not replaced unasked.
        kind: a file; a folder, which is replaced as a whole; or a "managed" folder, whose content the command checks
            itself, because it may contain an unfinished result that is continued.
        written: False for a file that an earlier run may have written and that would no longer match the new output.
    """

    option: str
    path: Path
    content: str
    kind: Literal["file", "folder", "managed"] = "file"
    written: bool = True

    def __str__(self) -> str:
        """Return the option and the path, as in messages."""
        return f"{self.option} {self.path}{'/' if self.kind != 'file' else ''}"


@contextmanager
def claim(
    outputs: Sequence[Output], inputs: Mapping[str, Iterable[str | Path]], *, overwrite: bool
) -> Iterator[list[Path]]:
    """Check and lock the outputs of a command before anything is computed; release them at the end.

    Args:
        outputs: all files and folders that the command may write.
        inputs: the paths of each option that names inputs; names that do not exist are ignored.
        overwrite: whether `--overwrite` is given.

    Yields:
        The files of the locks, for a process that replaces this one and releases them.

    Raises:
        ConfigError: an output is an input or another output, is of the wrong type, is not a file of embedctl, cannot
            be written, or another command writes it at this moment.
    """
    _check_distinct(outputs, inputs)
    for output in outputs:
        _check_type(output)
    for output in outputs:
        if output.written:
            check_writable(output.path.parent, str(output), f"give another path with {output.option}")
    locks: list[tuple[int, Path]] = []
    try:
        for output in outputs:
            if output.written:
                with deferred_stop_signals():
                    locks.append(lock(output))
        for output in outputs:
            _check_replaceable(output, overwrite=overwrite)
            remove_temporary_files(output.path / "*" if output.kind == "managed" else output.path)
            _states_at_claim[output.path.absolute()] = file_states(output.path)
        yield [path for _, path in locks]
    finally:
        for handle, path in locks:
            path.unlink(missing_ok=True)
            os.close(handle)
        _states_at_claim.clear()


_states_at_claim: dict[Path, object] = {}  # the state of each claimed output when it was checked


def remove_stale(outputs: Sequence[Output]) -> None:
    """Remove what an earlier run wrote and no longer matches the outputs of a command that has succeeded."""
    for output in outputs:
        if not output.written and not _changed_since_claim(output.path):
            remove(output.path)


def _changed_since_claim(path: Path) -> bool:
    """Return whether another program created or changed an output that this process has claimed."""
    key = path.absolute()
    return key in _states_at_claim and _states_at_claim[key] != file_states(path)


def _check_distinct(outputs: Sequence[Output], inputs: Mapping[str, Iterable[str | Path]]) -> None:
    """Raise a ConfigError if an output is the same file as another output or an input, or if a folder contains one."""
    for position, output in enumerate(outputs):
        for other in outputs[:position]:
            if _same(output.path, other.path):
                raise ConfigError(f"{output} is also the file of {other.option}", _other_path(output))
        for option, paths in inputs.items():
            for path in map(Path, paths):
                if path.is_file() and _same(output.path, path):
                    raise ConfigError(f"{output} is an input file ({option})", _other_path(output))
                if path.exists() and output.kind != "file" and _inside(path, output.path):
                    raise ConfigError(f"{output} contains an input ({option} {path})", _other_path(output))


def _check_type(output: Output) -> None:
    """Raise a ConfigError if the path exists and is not a file, or not a folder."""
    if not output.path.exists():
        return
    if output.kind == "file" and output.path.is_dir():
        raise ConfigError(f"{output} is a folder", f"give a file with {output.option}")
    if output.kind == "file" and not output.path.is_file():
        raise ConfigError(f"{output} is not a regular file", _other_path(output))
    if output.kind != "file" and not output.path.is_dir():
        raise ConfigError(f"{output} is a file, not a folder", _other_path(output))


def _check_replaceable(output: Output, *, overwrite: bool) -> None:
    """Raise a ConfigError if the output exists and embedctl did not write it, or if it does not match the new one."""
    if overwrite or output.kind == "managed" or not output.path.exists():
        return
    hint = f"give another path with {output.option}, or replace the existing one with --overwrite"
    if not output.written:
        message = f"{output.path} exists; this command would remove it, because it would not match the new output"
        raise ConfigError(message, hint)
    if not was_recorded(output.path, output.content):
        raise ConfigError(
            f"{output} already exists, and it was not written by the same command or was changed since", hint
        )


def _other_path(output: Output) -> str:
    return f"give another path with {output.option}"


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve() or (first.exists() and second.exists() and first.samefile(second))


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def lock(output: Output) -> tuple[int, Path]:
    """Lock an output until the returned file descriptor is closed.

    Returns:
        The file descriptor of the lock file, and its path. Remove the file before the descriptor is closed.

    Raises:
        ConfigError: another process holds the lock, or another program's file has the name of the lock file.
    """
    folder, name = output.path.parent, f".{output.path.name}.lock"
    if output.kind == "managed":
        check_writable(output.path, str(output), _other_path(output))
        folder, name = output.path, LOCK_FILE
    hint = f"wait until it has ended, or give another path with {output.option}"
    return acquire(folder / name, str(output), hint), folder / name


def recorder(path: Path, content: str) -> Callable[[Path], None]:
    """Return a function that records the complete temporary file of an output, before it is renamed to `path`.

    If another program changed `path` since the claim, the function keeps the temporary file under another name.

    Raises:
        OutputError: (the function) another program changed `path`.
    """

    def _record(temporary: Path) -> None:
        if _changed_since_claim(path):
            kept = path.with_name(f"{path.stem}-{secrets.token_hex(4)}{path.suffix}")
            temporary.rename(kept)
            message = f"{path} was created or changed by another program while the command ran"
            raise OutputError(message, f"rename or remove {kept}, which contains the new output")
        record(path, content, temporary)

    return _record


def record(path: Path, content: str, written: Path | None = None) -> None:
    """Record that embedctl wrote an output, so that the same command may replace it later.

    The previous record stays, because the command may be killed before the new output has its final name.

    Args:
        path: the output.
        content: what the output contains: see `Output`.
        written: the temporary file or folder that will be renamed to it; default: the output itself.
    """
    with suppress(OSError):  # without a record, --overwrite is required
        states = [[content, file_states(written or path)], *_recorded_states(path)]
        write_atomically(_record_file(path), json.dumps({"path": str(path.absolute()), "states": states[:2]}))


def was_recorded(path: Path, content: str) -> bool:
    """Return whether embedctl wrote this output with this content and it was not changed since."""
    state = file_states(path)
    return state is not None and [content, state] in _recorded_states(path)


def is_recorded(path: Path) -> bool:
    """Return whether embedctl wrote or checked this file or folder, with any content, and it was not changed since."""
    state = file_states(path)
    return state is not None and any(state in recorded for recorded in _recorded_states(path))


def _recorded_states(path: Path) -> list[list[object]]:
    states = read_json_object(_record_file(path)).get("states")
    return states if isinstance(states, list) else []


def _record_file(path: Path) -> Path:
    return private_cache("outputs") / hashlib.blake2b(os.fsencode(path.absolute()), digest_size=16).hexdigest()

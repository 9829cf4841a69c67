"""Locks of files that a process holds until it ends, also if it crashes or replaces itself by another program."""

from __future__ import annotations

import os
from pathlib import Path

from embedctl.errors import ConfigError

LOCK_FILE = ".embedctl.lock"  # in a folder whose content a command manages; the lock of another output is beside it
LOCK_TEXT = "embedctl, process "  # at the start of a lock file; a file with other content is a file of the user


def acquire(path: Path, output: str, hint: str) -> int:
    """Create and lock a lock file, and return its file descriptor. A program that replaces this process inherits it.

    Args:
        path: the lock file.
        output: what is locked, for the error message.
        hint: the next action if another process holds the lock.

    Raises:
        ConfigError: another process holds the lock, or the lock file is a file of the user.
    """
    import fcntl  # not available on Windows

    while True:
        handle = _open_lock(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.pread(handle, 40, 0).decode("ascii", "replace").removeprefix(LOCK_TEXT).strip()
            os.close(handle)
            message = f"{output} is in use: another embedctl command (process {process or 'unknown'}) writes to it"
            raise ConfigError(message, hint) from None
        if _is_file_of(handle, path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{LOCK_TEXT}{os.getpid()}\n".encode(), 0)
            os.set_inheritable(handle, True)
            return handle
        os.close(handle)  # the holder removed the file between opening and locking


def _open_lock(path: Path) -> int:
    """Open a lock file, which is created if it does not exist, and return its file descriptor.

    Raises:
        ConfigError: the file is a link or has other content than a lock, so it is a file of the user.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as cause:
        message, hint = f"{path}: cannot be written: {cause.strerror}", "make the file and its folder writable"
        if path.is_symlink():
            message, hint = f"{path} is a symbolic link, but must be a lock file", "rename or delete the link"
        raise ConfigError(message, hint) from None
    content = os.pread(handle, 40, 0).decode("ascii", "replace")
    if os.fstat(handle).st_nlink > 1 or (content and not content.startswith(LOCK_TEXT)):
        os.close(handle)
        raise ConfigError(f"{path} exists, but is not a lock file of embedctl", "rename or delete the file")
    return handle


def _is_file_of(handle: int, path: Path) -> bool:
    """Return whether `path` still names the file of an open file descriptor."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False

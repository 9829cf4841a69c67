"""Errors of writing, such as a full disk, as an OutputError that names the output."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from embedctl.errors import WRITE_ERRORS, EmbedctlError, OutputError

TEMPORARY_NAME = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.tmp")
REMOVED = "the file or its folder was removed while the command ran"
HINTS = {  # by the reason why a file cannot be written
    REMOVED: "run the command again",
    os.strerror(errno.EFBIG): "raise the limit of the size of a file (`ulimit -f`), or use another file system",
}
LIBRARY_ERROR = re.compile(r"os error (\d+)")  # in messages of safetensors and tokenizers (Rust)
# Messages of numpy.ndarray.tofile and torch.save for a write that stored fewer bytes than it should.
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written|unexpected pos \d+ vs \d+|file write failed")


class writing(AbstractContextManager[None]):  # noqa: N801  used like a function
    """Convert an error of writing in a with-block, such as a full disk, to an OutputError that names `path`.

    Libraries report such errors as exceptions of many types, so the error is recognised by its number or its message.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __exit__(self, kind: object, cause: BaseException | None, trace: object) -> None:
        """Raise an OutputError if the with-block failed because `path` cannot be written."""
        if not isinstance(cause, Exception) or isinstance(cause, EmbedctlError):
            return
        reason = write_problem(self.path, cause)
        if reason is not None:
            message, hint = f"{self.path}: cannot be written: {reason}", HINTS.get(reason)
            if hint is None:
                message += _free_space(self.path)
                hint = "free disk space, make the folder writable, or give another path, and run the command again"
            raise OutputError(message, hint) from cause


def write_problem(path: Path, cause: BaseException) -> str | None:
    """Return why `path` cannot be written; None if the exception has another reason."""
    match = LIBRARY_ERROR.search(str(cause))
    number = (cause.errno if isinstance(cause, OSError) else None) or (int(match[1]) if match else 0)
    if number in WRITE_ERRORS:
        return os.strerror(number)
    is_own = str(path) in str(cause) or TEMPORARY_NAME.search(str(cause)) or not path.parent.is_dir()
    if is_own and os.strerror(errno.ENOENT) in str(cause):
        return REMOVED
    if SHORT_WRITE.search(str(cause)):
        return "the disk is full, or the file is larger than allowed"
    known = (os.strerror(code) for code in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS))
    return next((text for text in known if text in str(cause)), None)  # messages of faiss


def _free_space(path: Path) -> str:
    """Return a text with the free space of the disk of `path`, which is appended to a message."""
    existing = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    if existing is None:
        return ""
    return f" ({shutil.disk_usage(existing).free / 2**20:,.0f} MiB of disk space free)"

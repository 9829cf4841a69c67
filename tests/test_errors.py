"""Each error has a message, a next action and an exit code."""

from __future__ import annotations

import errno
import inspect

import pytest
import torch

from embedctl import errors
from embedctl.errors import (
    CheckFailed,
    ConfigError,
    DataError,
    EmbedctlError,
    ModelError,
    Stopped,
    TrainingError,
    system_error,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(ConfigError, 2), (DataError, 2), (ModelError, 2), (TrainingError, 2), (CheckFailed, 1), (Stopped, 130)],
)
def test_each_error_has_its_exit_code(kind: type[EmbedctlError], code: int):
    error = kind("what is wrong", "what to do")
    assert (error.exit_code, error.message, error.hint) == (code, "what is wrong", "what to do")
    assert str(error) == "what is wrong"


def test_sigterm_has_its_own_exit_code():
    assert Stopped("saved", exit_code=errors.EXIT_TERMINATED).exit_code == 143
    assert Stopped("saved").hint == ""


def test_the_docstring_lists_every_class():
    classes = [
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    assert len(classes) == 9
    assert [name for name in classes if name not in str(errors.__doc__)] == []


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "rows.jsonl"), "rows.jsonl: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), None),
        (RuntimeError("shapes differ"), None),
    ],
)
def test_what_the_system_refuses_is_no_bug(cause, message):
    error = system_error(cause)
    assert (error and error.message) == message
    assert error is None or (error.hint and error.exit_code == 2)

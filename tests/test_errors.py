"""Each error has a message, a next action and an exit code."""

from __future__ import annotations

import inspect

import pytest

from embedctl import errors
from embedctl.errors import CheckFailed, ConfigError, DataError, EmbedctlError, ModelError, Stopped, TrainingError


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

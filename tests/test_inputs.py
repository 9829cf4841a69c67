"""Input files that change while a command reads them are reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedctl.errors import DataError
from embedctl.inputs import InputFiles


@pytest.mark.parametrize("change", ["append", "same size", "remove"])
@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_change_is_reported_at_the_end(tmp_path, change, given):
    path = tmp_path / "rows.jsonl"
    path.write_text("one\ntwo\n")
    inputs = InputFiles.of([path if given == "file" else tmp_path])
    lines = inputs.watch(iter(["one", "two"]))
    assert next(lines) == "one"
    if change == "remove":
        path.unlink()
    else:
        path.write_text("one\ntwo\nthree\n" if change == "append" else "one\nTWO\n")
        os.utime(path, ns=(1, 1))
    assert next(lines) == "two"
    with pytest.raises(DataError, match=r"rows\.jsonl: the file (changed|was removed) while the command read it"):
        next(lines)


def test_an_error_caused_by_a_change_is_reported_as_a_change(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("one")

    def read_twice(inputs: InputFiles) -> None:
        with inputs.unchanged():
            path.write_text("another")
            raise KeyError("pos")

    with pytest.raises(DataError, match="changed"):
        read_twice(InputFiles.of([path]))


def test_without_a_change_nothing_is_reported(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    inputs = InputFiles.of([tmp_path / "rows.jsonl", tmp_path / "none", Path(os.devnull)])
    assert list(inputs.watch([1, 2])) == [1, 2]
    with pytest.raises(ZeroDivisionError), inputs.unchanged():
        raise ZeroDivisionError

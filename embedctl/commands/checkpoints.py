"""Which model `--ckpt` means where none was named."""

from __future__ import annotations

from pathlib import Path

from embedctl import console
from embedctl.config import RunSection
from embedctl.errors import ModelError


def checkpoint_of(named: str | None) -> str:
    """The model named; where none was, the last run's output in this folder.

    Raises:
        ModelError: there is none.
    """
    expect_checkpoint(named)
    return named or RunSection().output_dir


def expect_checkpoint(named: str | None) -> None:
    """Check that a model is named or that this folder holds the last run's output, and print that it is used.

    Raises:
        ModelError: there is none.
    """
    last = RunSection().output_dir
    if named is None and not Path(last, "modules.json").exists():
        raise ModelError("no model: give --ckpt", "train one first (`embedctl train`), or name a folder or a hub model")
    if named is None:
        console.say(f"no --ckpt: using the trained model in {last}")

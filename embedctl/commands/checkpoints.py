"""Which model `--ckpt` means where none was named."""

from __future__ import annotations

from pathlib import Path

from embedctl import console
from embedctl.config import RunSection
from embedctl.errors import ModelError


def checkpoint_of(named: str | None) -> str:
    """The model named; where none was, the last run's output in this folder, which is printed.

    Raises:
        ModelError: there is none.
    """
    if named is not None:
        return named
    last = RunSection().output_dir
    if not Path(last, "modules.json").exists():
        raise ModelError("no model: give --ckpt", "train one first (`embedctl train`), or name a folder or a hub model")
    console.info(f"no --ckpt: using the trained model in {last}")
    return last

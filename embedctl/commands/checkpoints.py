"""Which model `--ckpt` means where none was named."""

from __future__ import annotations

from pathlib import Path

from embedctl import console
from embedctl.config import TINY
from embedctl.errors import ModelError


def checkpoint_of(name: str) -> str:
    """The model named; where none was, the last run's output in this folder.

    Raises:
        ModelError: there is none. The built-in model exists only once it is trained.
    """
    if name != TINY:
        return name
    if Path("out", "modules.json").exists():
        console.say("no --ckpt: using the trained model in out")
        return "out"
    raise ModelError("no model: give --ckpt", "train one first (`embedctl train`), or name a folder or a hub model")

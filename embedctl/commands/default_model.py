"""Default model of the commands that use a trained model."""

from __future__ import annotations

from pathlib import Path

from embedctl import console
from embedctl.config import RunSection
from embedctl.errors import ModelError


def model_or_default(name: str | None) -> str:
    """Return the given model; without one, print and return the default output folder of `embedctl train`.

    Raises:
        ModelError: no model is given, and the default folder contains none.
    """
    if name is not None:
        return name
    default = RunSection().output_dir
    if not Path(default, "modules.json").exists():
        hint = "train a model with `embedctl train`, or give a model folder or a Hugging Face Hub name with --model"
        raise ModelError(f"no --model given, and the folder {default} contains no model", hint)
    console.info(f"no --model given; using the trained model in {default}")
    return default

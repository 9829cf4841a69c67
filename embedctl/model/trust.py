"""Checks of a model before it is loaded: no code of the model, no pickled weights, no paths outside its folder.

Python code that comes with a model, and a pickle, can run any program. transformers asks on standard input whether code
may run unless it receives an explicit answer, so every loader passes `trust_remote_code`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NoReturn

import torch

from embedctl.errors import ModelError
from embedctl.files import read_json, read_json_object

LIBRARY_CLASSES = "sentence_transformers."  # prefix of the classes that modules.json may name
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin")
CONVERT = (
    "import torch, safetensors.torch as s; "
    "w = torch.load({source!r}, weights_only=True, map_location='cpu'); "
    "s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, {target!r}, metadata={{'format': 'pt'}})"
)


def check_model_files(path: str, *, trust_remote_code: bool) -> None:
    """Check the files of a local model folder. A model of the Hub is checked by the libraries that load it.

    Raises:
        ModelError: the folder contains pickled weights only, names a class of its own without `trust_remote_code`, or
            names a file outside the folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        return
    modules = read_json(folder / "modules.json")  # the libraries report a damaged file
    for module in modules if isinstance(modules, list) else []:
        if isinstance(module, dict):
            _check_inside(folder / "modules.json", str(module.get("path", "")))
            if not trust_remote_code and not str(module.get("type", "")).startswith(LIBRARY_CLASSES):
                raise code_refused(path, f"modules.json names the class {module.get('type')}")
    for index in folder.rglob("*.safetensors.index.json"):
        weights = read_json_object(index).get("weight_map")
        for name in set(weights.values()) if isinstance(weights, dict) else ():
            _check_inside(index, str(name))
    for pickled in (file for name in PICKLED_WEIGHTS for file in folder.rglob(name)):
        if not any((pickled.parent / name).exists() for name in SAFE_WEIGHTS):
            raise pickle_refused(pickled)


def code_refused(path: str, reason: str) -> ModelError:
    """Return the error for a model that comes with Python code."""
    message = f"{path}: the model comes with Python code, which is not run without --trust-remote-code: {reason}"
    return ModelError(message, "read the code of the model, and add --trust-remote-code if you trust its author")


def pickle_refused(file: Path) -> ModelError:
    """Return the error for pickled weights, with a command that converts them."""
    message = f"{file}: the weights are pickled and are not read, because loading a pickle can run any program"
    target = "adapter_model.safetensors" if file.name.startswith("adapter") else "model.safetensors"
    script = CONVERT.format(source=str(file), target=str(file.with_name(target)))
    return ModelError(message, f"convert them to safetensors: python -c {shlex.quote(script)}")


@contextmanager
def no_pickles() -> Iterator[None]:
    """Make every library raise an error if it loads pickled weights in a with-block.

    Raises:
        ModelError: a library called `torch.load`.
    """

    def _refuse(file: Any, *_arguments: Any, **_options: Any) -> NoReturn:
        raise pickle_refused(Path(str(file)))

    original, torch.load = torch.load, _refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load = original


def _check_inside(file: Path, name: str) -> None:
    """Raise a ModelError if a path that is written in a file of the model leaves the model's folder."""
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        message = f"{file}: the path {name} is outside the folder of the model"
        raise ModelError(message, "use a model whose files are all in its own folder")

"""Checks of a model before it is loaded: no code of the model, no pickled weights, no paths outside its folder.

Python code that comes with a model, and a pickle, can run any program. transformers asks on standard input whether code
may run unless it receives an explicit answer, so every loader passes `trust_remote_code`.
"""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NamedTuple, NoReturn

import torch

from embedctl.errors import ModelError
from embedctl.files import read_json, read_json_object
from embedctl.remote import hub

LIBRARY_CLASSES = "sentence_transformers."  # prefix of the classes that modules.json may name
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
# beginnings of the names of files that trainers leave beside the weights, and that no command reads
TRAINER_FILES = ("training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states")
ACTIVATION_KEYS = ("activation_fn", "activation_function", "sbert_ce_default_activation_function")
TRUST_HINT = "read the code of the model, and add --trust-remote-code only if you trust its author"
NOT_READ = "not read, because loading a pickle can run any program"
CONVERT = (
    "import torch, safetensors.torch as s; from pathlib import Path; d = Path({folder!r}); w = {{}}; "
    "[w.update(torch.load(f, weights_only=True, map_location='cpu')) for f in sorted(d.glob({pattern!r}))]; "
    "s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, d / {target!r}, metadata={{'format': 'pt'}})"
)


class Module(NamedTuple):
    """A module of a sentence-transformers model, as a configuration file names it."""

    file: Path  # which names it: modules.json, or the configuration of a Router
    path: str  # as it is written there
    folder: Path
    type: str  # the import path of its class

    @property
    def kind(self) -> str:
        """The name of its class; empty for a folder without modules.json."""
        return self.type.rpartition(".")[2]


def check_code(path: str, hint: str = TRUST_HINT) -> None:
    """Check that a model can be loaded without Python code of its own.

    Args:
        path: a folder or a Hugging Face Hub name; the configuration files of a Hub model are downloaded.
        hint: the next action after an error.

    Raises:
        ModelError: a configuration file names a class that is not part of transformers or sentence-transformers.
    """
    import transformers

    folder = hub.configuration_folder(path)
    if folder is None:
        return
    for module in all_modules(folder):
        if not module.type.startswith(LIBRARY_CLASSES):
            raise code_refused(path, f"{module.file} names the class {module.type}", hint)
    for part in model_parts(folder):
        for file in sorted(part.glob("*config*.json")):
            # A class of the same name in transformers is loaded instead of the model's own.
            for name in _auto_map_classes(file):
                if not hasattr(transformers, name.rpartition(".")[2]):
                    raise code_refused(path, f"{file} names the class {name}", hint)
            for name in _activations(read_json(file)):
                if not _is_layer_of_torch(name):
                    raise code_refused(path, f"{file} names the activation function {name}", hint)


def check_weights(path: str) -> None:
    """Check that the weights of a model are safetensors files in its own folder.

    Args:
        path: a folder or a Hugging Face Hub name; of a Hub model, only the configuration files are checked.

    Raises:
        ModelError: the folder contains pickled weights only, or a configuration file names a file outside the folder.
    """
    folder = hub.configuration_folder(path)
    if folder is None:
        return
    for module in all_modules(folder):
        _check_inside(module.file, module.path)
    for part in model_parts(folder):
        for index in part.glob("*.safetensors.index.json"):
            names = _mapping(read_json_object(index).get("weight_map")).values()
            for name in sorted({str(name) for name in names}):
                _check_inside(index, name)
        pickled = [file for file in sorted(part.glob("*")) if _is_pickled_weights(file)]
        if pickled and Path(path).is_dir() and not any(part.glob("*.safetensors")):
            raise pickle_refused(pickled[0])


def check_model_files(path: str, *, trust_remote_code: bool) -> None:
    """Check the files of a model before its weights are loaded.

    Raises:
        ModelError: see `check_weights` and, without `trust_remote_code`, `check_code`.
    """
    if not trust_remote_code:
        check_code(path)
    check_weights(path)


def code_refused(path: str, reason: str, hint: str = TRUST_HINT) -> ModelError:
    """Return the error for a model that comes with Python code."""
    message = f"{path}: the model comes with Python code, which is not run without --trust-remote-code: {reason}"
    return ModelError(message, hint)


def pickle_refused(file: Path) -> ModelError:
    """Return the error for pickled weights of a local model, with a command that converts them."""
    pattern = "pytorch_model*.bin" if file.name.startswith("pytorch_model") else glob.escape(file.name)
    target = "adapter_model.safetensors" if file.name.startswith("adapter") else "model.safetensors"
    script = CONVERT.format(folder=str(file.parent), pattern=pattern, target=target)
    hint = f"run `python -c {shlex.quote(script)}` to convert them to safetensors"
    return ModelError(f"{file}: the weights are pickled and are {NOT_READ}", hint)


def hub_pickle_refused(name: str) -> ModelError:
    """Return the error for a model of the Hugging Face Hub whose weights are not safetensors files."""
    folder = shlex.quote(name.rpartition("/")[2])
    hint = (
        f"run `hf download {shlex.quote(name)} --local-dir {folder}` and use the model {folder}; the next message then "
        "contains the command that converts its weights to safetensors"
    )
    return ModelError(
        f"{name}: the model has no weights in the safetensors format; pickled weights are {NOT_READ}", hint
    )


@contextmanager
def safe_loading(path: str) -> Iterator[None]:
    """Make every library raise an error if it loads a pickle, or asks whether code may run, in a with-block.

    Args:
        path: the model that is loaded, for the message.

    Raises:
        ModelError: a library called `torch.load`.
        ValueError: a library did not pass `trust_remote_code`; the message contains this word.
    """
    from transformers import dynamic_module_utils

    def _refuse(file: Any, *_arguments: Any, **_options: Any) -> NoReturn:
        raise pickle_refused(Path(str(file))) if Path(path).exists() else hub_pickle_refused(path)

    load, seconds = torch.load, dynamic_module_utils.TIME_OUT_REMOTE_CODE
    torch.load, dynamic_module_utils.TIME_OUT_REMOTE_CODE = _refuse, 0  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load, dynamic_module_utils.TIME_OUT_REMOTE_CODE = load, seconds


def model_modules(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of modules.json; one for the folder itself if this file is missing."""
    if not (folder / "modules.json").is_file():
        return [{"path": "", "type": LIBRARY_CLASSES}]
    modules = read_json(folder / "modules.json")
    return [module for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []


def all_modules(folder: Path) -> Iterator[Module]:
    """Yield the modules of a model and, after each Router, the modules of its routes."""
    for module in model_modules(folder):
        path = str(module.get("path", ""))
        yield Module(folder / "modules.json", path, folder / path, str(module.get("type")))
        for file, routes in _routes(folder / path):
            yield from (Module(file, name, file.parent / name, str(kind)) for name, kind in routes.items())


def _routes(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each configuration file of a Router module, with a dict from the path of a submodule to its class."""
    for file in (folder / "router_config.json", folder / "config.json"):
        config = read_json_object(file)
        if "structure" in config:
            yield file, _mapping(config.get("types"))


def model_parts(folder: Path) -> list[Path]:
    """Return the folders that contain the modules of a model, and those of the base models of its adapters."""
    parts = [module.folder for module in all_modules(folder)]
    adapters = (read_json_object(part / "adapter_config.json") for part in parts)
    bases = [str(adapter.get("base_model_name_or_path") or "") for adapter in adapters]
    return parts + [Path(base) for base in bases if base and Path(base).is_dir()]


def _auto_map_classes(file: Path) -> Iterator[str]:
    """Yield the classes in the `auto_map` of a configuration file, for example `modeling.Model`."""
    for names in _mapping(read_json_object(file).get("auto_map")).values():
        yield from (name for name in (names if isinstance(names, list) else [names]) if isinstance(name, str))


def _activations(value: Any) -> Iterator[str]:
    """Yield the import paths of activation functions in a value of a JSON file.

    sentence-transformers calls what they name. A name without a dot, such as `gelu`, is one of transformers.
    """
    for name, part in value.items() if isinstance(value, dict) else ():
        if name in ACTIVATION_KEYS and isinstance(part, str) and "." in part:
            yield part
        yield from _activations(part)


def _is_layer_of_torch(name: str) -> bool:
    layer = getattr(torch.nn, name.rpartition(".")[2], None)
    return name.startswith("torch.nn.") and isinstance(layer, type) and issubclass(layer, torch.nn.Module)


def _is_pickled_weights(file: Path) -> bool:
    return file.suffix in PICKLE_SUFFIXES and not file.name.startswith(TRAINER_FILES)


def _check_inside(file: Path, name: str) -> None:
    """Raise a ModelError if a path that is written in a file of the model leaves the model's folder."""
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        message = f"{file}: the path {name} is outside the folder of the model"
        raise ModelError(message, "use a model whose files are all in its own folder")


def _mapping(value: Any) -> dict[str, Any]:
    """Return a value of a JSON file if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}

"""Checks that a model is loaded whole: its weight files can be read, contain every weight, and a tokenizer exists.

The libraries initialize missing weights at random and print a report, so a model with missing weights would return
embeddings without meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from embedctl import console
from embedctl.console import plural
from embedctl.digests import find_damage, is_file_list
from embedctl.errors import ModelError
from embedctl.files import read_json_object
from embedctl.model.trust import check_model_files, model_modules, model_parts
from embedctl.run_folder import SUMMARY_FILE

# The pooler of BERT-like models, which embeddings do not use; a classification head uses it.
OPTIONAL_WEIGHTS = re.compile(r"(^|\.)pooler\.")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Modules of sentence-transformers that cannot be created without their config.json.
CONFIGURED_MODULES = {"Pooling", "Dense", "LSTM", "CNN", "WeightedLayerPooling", "LayerNorm", "WordWeights", "BoW"}
NAMES_SHOWN = 3  # names of missing weights in a message
DOWNLOAD_AGAIN = "download the model again; a file of it may be incomplete"


def check_model(path: str, *, trust_remote_code: bool) -> None:
    """Check the files of a model before its weights are loaded.

    Raises:
        ModelError: see `embedctl.model.trust.check_model_files` and `check_files`.
    """
    check_model_files(path, trust_remote_code=trust_remote_code)
    check_files(path)


def check_files(path: str) -> None:
    """Check that the weights of a local model, and what modules.json names, are complete files.

    Raises:
        ModelError: a file is a pointer of Git LFS, is truncated or missing, or differs from what `train` wrote.
    """
    folder = Path(path)
    if not folder.is_dir():
        return
    for module in model_modules(folder):
        kind, config = str(module.get("type")).rpartition(".")[2], folder / str(module.get("path", "")) / "config.json"
        if kind in CONFIGURED_MODULES and not config.exists():
            raise ModelError(f"{config}: the configuration of the module {kind} is missing", DOWNLOAD_AGAIN)
    for part in model_parts(folder):
        for file in [*part.glob("*.safetensors"), *part.glob("*.json"), *part.glob("*.model")]:
            with file.open("rb") as stream:
                if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                    message = f"{file}: the file is a pointer of Git LFS, not the file itself"
                    raise ModelError(message, f"run `git lfs pull` in {folder}, or download the model again")
        for file in part.glob("*.safetensors"):
            try:
                with safe_open(file, framework="pt"):
                    pass
            except SafetensorError as cause:
                raise ModelError(f"{file}: the file is damaged or truncated: {cause}", DOWNLOAD_AGAIN) from cause
    summary = folder / SUMMARY_FILE
    listed = read_json_object(summary).get("files")  # missing if an earlier version or another tool wrote the model
    damage = find_damage(folder, listed) if is_file_list(listed) else None
    if damage:
        hint = f"train the model again or, if you changed the file yourself, remove the key `files` from {summary}"
        raise ModelError(f"{folder}: the model is damaged: {damage}", hint)


def check_tokenizer(path: str, tokenizer: Any) -> None:
    """Check that a local model contains the vocabulary of its tokenizer; without it, all texts have the same tokens.

    Raises:
        ModelError: it does not.
    """
    names = getattr(tokenizer, "vocab_files_names", None)  # none: a tokenizer of bytes or characters
    if names and Path(path).is_dir():
        found = [Path(path, name).exists() for name in {"tokenizer.json", *names.values()}]
        if not any(found):
            message = (
                f"{path}: the tokenizer is missing: the folder contains none of {', '.join(sorted(names.values()))}"
            )
            raise ModelError(message, "copy the files of the tokenizer from the base model into the folder")


@contextmanager
def whole_weights(path: str) -> Iterator[None]:
    """Make transformers refuse a model with missing weights, in a with-block that loads the model `path`.

    A prefix of all names, for example `module.` of a DataParallel model, is removed, and a message is printed.

    Raises:
        ModelError: the model has weights that its files do not contain.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel.__dict__["from_pretrained"]

    def _load(cls: Any, /, *arguments: Any, output_loading_info: bool = False, **options: Any) -> Any:
        model, info = original.__func__(cls, *arguments, output_loading_info=True, **options)
        missing = required_weights(model, info["missing_keys"])
        prefix = common_prefix(missing, info["unexpected_keys"])
        if prefix:
            mapping = {f"^{re.escape(prefix)}": ""}
            options["key_mapping"] = mapping | (options.get("key_mapping") or {})
            model, info = original.__func__(cls, *arguments, output_loading_info=True, **options)
            missing = required_weights(model, info["missing_keys"])
            console.info(f"{path}: the prefix {prefix} is removed from the names of the weights")
        if missing:
            raise missing_weights(path, type(model).__name__, missing, info["unexpected_keys"])
        return (model, info) if output_loading_info else model

    PreTrainedModel.from_pretrained = classmethod(_load)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = original  # type: ignore[method-assign]


def required_weights(model: Any, missing: Iterable[str]) -> list[str]:
    """Return the missing weights without those that the model does not use."""
    uses_pooler = "ForSequenceClassification" in type(model).__name__
    return sorted(name for name in missing if uses_pooler or not OPTIONAL_WEIGHTS.search(name))


def common_prefix(missing: Iterable[str], unexpected: Iterable[str]) -> str:
    """Return the prefix whose removal turns names of the files into all missing names, or an empty string."""
    required, found = set(missing), sorted(unexpected)
    for name in found:
        for end in (match.end() for match in re.finditer(r"\.", name)):
            prefix = name[:end]
            if required and required <= {other.removeprefix(prefix) for other in found if other.startswith(prefix)}:
                return prefix
    return ""


def missing_weights(path: str, model: str, missing: list[str], unexpected: Iterable[str]) -> ModelError:
    """Return the error for weights that the files of a model do not contain."""
    shown = ", ".join(missing[:NAMES_SHOWN]) + (", ..." if len(missing) > NAMES_SHOWN else "")
    message = f"{path}: the files of the model lack {plural(len(missing), 'weight')} of {model}: {shown}"
    others = sorted(unexpected)
    if others:
        message += f"; the files contain {plural(len(others), 'weight')} with other names, for example {others[0]}"
    return ModelError(message, DOWNLOAD_AGAIN + ", or its config.json belongs to another model")

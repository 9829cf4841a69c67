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
from embedctl.errors import ModelError, first_line
from embedctl.files import read_json_object
from embedctl.model.configuration import check_configuration
from embedctl.model.trust import all_modules, check_model_files, model_parts
from embedctl.remote import hub
from embedctl.run_folder import SUMMARY_FILE

# The pooler of BERT-like models, which embeddings do not use; a classification head uses it.
OPTIONAL_WEIGHTS = re.compile(r"(^|\.)pooler\.")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Modules of sentence-transformers that cannot be created without their config.json.
CONFIGURED_MODULES = {"Pooling", "Dense", "LSTM", "CNN", "WeightedLayerPooling", "LayerNorm", "WordWeights", "BoW"}
# Modules with weights; the kind is empty for a folder without modules.json.
WEIGHTED_MODULES = {"", "Transformer", "Dense", "LSTM", "CNN", "WeightedLayerPooling", "LayerNorm", "StaticEmbedding"}
# Files with the vocabulary of a tokenizer, beside those that its class names.
VOCABULARIES = {"tokenizer.json", "*.model", "*.tiktoken", "tekken.json"}
NAMES_SHOWN = 3  # names of missing weights in a message
TOKENIZER_HINT = "copy the files of the tokenizer from the base model into the folder"
DOWNLOAD_AGAIN = "download the model again; a file of it may be incomplete"
CONFIG_HINT = f"{DOWNLOAD_AGAIN}, or its config.json belongs to another model"


def check_model(path: str, *, trust_remote_code: bool) -> None:
    """Check the files of a model before its weights are loaded.

    Raises:
        ModelError: see `check_configuration`, `embedctl.model.trust.check_model_files` and `check_files`; or a module
            has no file of weights.
    """
    if folder := hub.configuration_folder(path):
        check_configuration(folder)
    check_model_files(path, trust_remote_code=trust_remote_code)
    check_files(path)
    for module in all_modules(Path(path)) if Path(path).is_dir() else ():
        if module.kind in WEIGHTED_MODULES and not any(module.folder.glob("*.safetensors")):
            raise ModelError(
                f"{module.folder}: the weights are missing: the folder has no model.safetensors", DOWNLOAD_AGAIN
            )


def check_files(path: str) -> None:
    """Check that the weights of a local model, and what modules.json names, are complete files.

    Raises:
        ModelError: a file is a pointer of Git LFS, is truncated or missing, or differs from what `train` wrote.
    """
    folder = Path(path)
    if not folder.is_dir():
        return
    for module in all_modules(folder):
        config = module.folder / "config.json"
        if module.kind in CONFIGURED_MODULES and not config.exists():
            raise ModelError(f"{config}: the configuration of the module {module.kind} is missing", DOWNLOAD_AGAIN)
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


@contextmanager
def whole_tokenizers() -> Iterator[None]:
    """Make transformers name the folder of a tokenizer that it cannot load, in a with-block that loads a local model.

    Raises:
        ModelError: the folder has no vocabulary, without which all texts would have the same tokens, or a file of the
            tokenizer is damaged.
    """
    from transformers import PreTrainedTokenizerBase

    original = PreTrainedTokenizerBase.__dict__["from_pretrained"]
    refused: list[ModelError] = []  # transformers catches these errors, and then raises another one

    def _load(cls: Any, source: Any, *arguments: Any, **options: Any) -> Any:
        folder, names = Path(source, options.get("subfolder") or ""), set(cls.vocab_files_names.values())
        # no names: a tokenizer of bytes or characters
        if names and folder.is_dir() and not any(any(folder.glob(name)) for name in names | VOCABULARIES):
            message = f"{folder}: the tokenizer is missing: the folder contains none of {', '.join(sorted(names))}"
            refused.append(ModelError(message, TOKENIZER_HINT))
            raise refused[0]
        try:
            return original.__func__(cls, source, *arguments, **options)
        except Exception as cause:  # the class of all errors of tokenizers
            if folder.is_dir():
                message = f"{folder}: the files of the tokenizer cannot be read: {first_line(cause)}"
                refused.append(ModelError(message, TOKENIZER_HINT))
                raise refused[0] from cause
            raise

    PreTrainedTokenizerBase.from_pretrained = classmethod(_load)  # type: ignore[method-assign, assignment]
    try:
        yield
    except (OSError, ValueError) as cause:
        if refused:
            raise refused[0] from cause
        raise
    finally:
        PreTrainedTokenizerBase.from_pretrained = original  # type: ignore[method-assign]


@contextmanager
def whole_weights(path: str) -> Iterator[None]:
    """Make transformers refuse a model with missing weights, in a with-block that loads the model `path`.

    A prefix of all names, for example `module.` of a DataParallel model, is removed, and a message is printed.

    Raises:
        ModelError: the model has weights that its files do not contain, or that have another shape there.
    """
    from transformers import PreTrainedModel

    original = PreTrainedModel.__dict__["from_pretrained"]

    def _load(cls: Any, /, *arguments: Any, output_loading_info: bool = False, **options: Any) -> Any:
        options["ignore_mismatched_sizes"] = True  # else the message names no weight
        model, info = original.__func__(cls, *arguments, output_loading_info=True, **options)
        missing = required_weights(model, info["missing_keys"])
        prefix = common_prefix(missing, info["unexpected_keys"])
        if prefix:
            mapping = {f"^{re.escape(prefix)}": ""}
            options["key_mapping"] = mapping | (options.get("key_mapping") or {})
            model, info = original.__func__(cls, *arguments, output_loading_info=True, **options)
            missing = required_weights(model, info["missing_keys"])
            console.info(f"{path}: the prefix {prefix} is removed from the names of the weights")
        for name, found, expected in sorted(info["mismatched_keys"]):
            shapes = f"the weight {name} has the shape {tuple(found)}, but by config.json {tuple(expected)}"
            raise ModelError(f"{path}: {shapes}", CONFIG_HINT)
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
    return ModelError(message, CONFIG_HINT)

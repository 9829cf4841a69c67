"""Check of the path or name of a model before it is loaded. Does not import torch."""

from __future__ import annotations

from pathlib import Path

from embedctl.config import TINY
from embedctl.errors import ModelError
from embedctl.run_folder import is_incomplete_model
from embedctl.shell import embedctl_command


def check_model_path(path: str) -> None:
    """Check that a name can be that of a saved model: a folder with a complete model, or a Hugging Face Hub name.

    Raises:
        ModelError: it is the built-in model, a file, a missing folder, or a folder without a complete model.
    """
    if path == TINY:
        problem = "the built-in model 'tiny' is built by `embedctl train` and cannot be loaded"
        raise ModelError(problem, "give the output folder of a training run with --model, for example --model out")
    folder, hint = Path(path), "give the folder of a saved model with --model"
    files = ("modules.json", "config.json", "config_sentence_transformers.json", "adapter_config.json")
    if is_incomplete_model(folder):
        message = f"{path}: the model is incomplete: the training run that wrote it has not finished"
        raise ModelError(
            message, f"finish the run with `{embedctl_command('train', '--resume', path)}`, or give another model"
        )
    if folder.is_dir() and not any((folder / name).exists() for name in files):
        raise ModelError(f"{path}: the folder contains no model (no modules.json or config.json)", hint)
    if folder.is_file():
        raise ModelError(f"{path}: this is a file, not the folder of a model", hint)
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    # sentence-transformers adds an owner to a name such as all-MiniLM-L6-v2
    lacks_owner = "/" not in path and "-" in path and not path.endswith((".json", ".jsonl"))
    if looks_local and not folder.exists() and not lacks_owner:
        hint = "train a model first with `embedctl train`, or use a Hugging Face Hub name such as BAAI/bge-base-zh-v1.5"
        raise ModelError(f"{path}: no such folder", hint)

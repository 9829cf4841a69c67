"""Loading a sentence-transformers model from a folder or the hub, in the precision asked for.

Plain transformers checkpoints get a pooling and a normalisation; everything else is left as its author saved it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedctl.config import TINY
from embedctl.errors import ModelError, first_line
from embedctl.remote import hub

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def load_sentence_transformer(
    path: str, *, dtype: torch.dtype = torch.float32, trust_remote_code: bool = False, pooling: str | None = None
) -> SentenceTransformer:
    """The model at `path`, a folder or a hub name, on the CPU.

    Args:
        path: with modules.json it is loaded as saved; a plain transformers checkpoint is pooled and normalised.
        dtype: of the weights; a checkpoint's own type (often bf16) is no master for training.
        trust_remote_code: whether Python code of the checkpoint may run.
        pooling: mean, cls or lasttoken, for a plain checkpoint only; mean by default.

    Raises:
        ModelError: there is no such model, it can't be read, or its first module is no transformer.
    """
    _expect_a_model(path)
    with loading_context(path, f"{path}: can't be loaded as an embedding model"), torch.random.fork_rng(devices=[]):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

        torch.manual_seed(0)  # weights that a checkpoint lacks (an unused pooler) are the same each time
        settings: dict[str, Any] = {"dtype": dtype}
        if Path(path).is_dir() and not Path(path, "modules.json").exists():
            transformer = Transformer(path, model_kwargs=settings | {"trust_remote_code": trust_remote_code})
            pooled = Pooling(transformer.auto_model.config.hidden_size, pooling or "mean")
            model = SentenceTransformer(modules=[transformer, pooled, Normalize()], device="cpu")
        else:
            model = SentenceTransformer(path, device="cpu", trust_remote_code=trust_remote_code, model_kwargs=settings)
    if not hasattr(model[0], "auto_model") or not hasattr(model[0].auto_model, "config"):
        problem = f"{path}: the first module is {type(model[0]).__name__}, not a transformer"
        raise ModelError(problem, "choose another model")
    return model


@contextmanager
def loading_context(path: str, problem: str, hint: str = "") -> Iterator[None]:
    """Load a model quietly in a with-block, from the cache alone where the hub is silent.

    Raises:
        ModelError: `problem`, with what the library says, and `hint` or where to look.
    """
    if not hint and Path(path).exists():
        hint = "check that the folder holds a whole model; `embedctl doctor` shows the installed versions"
    elif not hint:
        doctor = "(`embedctl doctor` says whether the hub can be reached)"
        hint = f"check the name and the network {doctor}, or give a local folder"
    hub.go_offline_if_unreachable(path)
    silence_transformers()
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as cause:
        raise ModelError(f"{problem}: {first_line(cause)}", hint) from cause


def silence_transformers() -> None:
    """No bars and no load reports of transformers between our own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _expect_a_model(path: str) -> None:
    if path == TINY:
        problem = "'tiny' is built from the training data and can't be loaded"
        raise ModelError(problem, "give --ckpt a trained model, e.g. out")
    folder, saved = Path(path), "name the folder of a saved model"
    files = ("modules.json", "config.json", "config_sentence_transformers.json")
    if folder.is_dir() and not any((folder / name).exists() for name in files):
        raise ModelError(f"{path}: holds no model (no modules.json, no config.json)", saved)
    if folder.is_file():
        raise ModelError(f"{path}: is a file, not a model folder", saved)
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if looks_local and not folder.exists() and not _is_cached_hub_name(path):
        hint = "train one first (`embedctl train`), or give a hub name such as BAAI/bge-base-zh-v1.5"
        raise ModelError(f"{path}: no such folder", hint)


def _is_cached_hub_name(path: str) -> bool:
    """Old hub names such as all-MiniLM-L6-v2 have no owner; sentence-transformers adds its own."""
    return "/" not in path and path.count("-") > 0 and not path.endswith((".json", ".jsonl"))


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a model, without its weights.

    Raises:
        ModelError: there is none.
    """
    _expect_a_model(path)
    with loading_context(path, f"{path}: has no tokenizer that can be loaded"):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(path)


def hash_weights(model: torch.nn.Module) -> str:
    """A digest of all weights and their names: equal bytes, equal digest, wherever they are stored."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

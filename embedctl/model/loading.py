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
    settings: dict[str, Any] = {
        "device": "cpu",
        "trust_remote_code": trust_remote_code,
        "model_kwargs": {"dtype": dtype},
    }
    problem = f"{path}: can't be loaded as an embedding model"
    with loading(path, problem, _hint(path)), torch.random.fork_rng(devices=[]):
        from sentence_transformers import SentenceTransformer

        torch.manual_seed(0)  # weights that a checkpoint lacks (an unused pooler) are the same each time
        model = _pooled(path, pooling or "mean", settings) if _is_plain(path) else SentenceTransformer(path, **settings)
    if not hasattr(model[0], "auto_model") or not hasattr(model[0].auto_model, "config"):
        raise ModelError(
            f"{path}: the first module is {type(model[0]).__name__}, not a transformer", "choose another model"
        )
    return model


@contextmanager
def loading(path: str, problem: str, hint: str) -> Iterator[None]:
    """Load a model quietly in a with-block, from the cache alone where the hub is silent.

    Raises:
        ModelError: `problem`, with what the library says, and `hint`.
    """
    hub.settle(path)
    quiet_transformers()
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as cause:
        raise ModelError(f"{problem}: {first_line(cause)}", hint) from cause


def quiet_transformers() -> None:
    """No bars and no load reports of transformers between our own lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _expect_a_model(path: str) -> None:
    folder = Path(path)
    if path == TINY:
        raise ModelError(
            "'tiny' is built from the training data and can't be loaded", "give --ckpt a trained model, e.g. out"
        )
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or path.count("/") == 0
    if folder.is_dir() and not any(
        (folder / name).exists() for name in ("modules.json", "config.json", "config_sentence_transformers.json")
    ):
        raise ModelError(
            f"{path}: holds no model (no modules.json, no config.json)", "name the folder of a saved model"
        )
    if folder.is_file():
        raise ModelError(f"{path}: is a file, not a model folder", "name the folder of a saved model")
    if looks_local and not folder.exists() and not _is_cached_hub_name(path):
        raise ModelError(
            f"{path}: no such folder",
            "train one first (`embedctl train`), or give a hub name such as BAAI/bge-base-zh-v1.5",
        )


def _is_cached_hub_name(path: str) -> bool:
    """Old hub names such as all-MiniLM-L6-v2 have no owner; sentence-transformers adds its own."""
    return "/" not in path and path.count("-") > 0 and not path.endswith((".json", ".jsonl"))


def _is_plain(path: str) -> bool:
    folder = Path(path)
    return folder.is_dir() and not (folder / "modules.json").exists()


def _pooled(path: str, pooling: str, settings: dict[str, Any]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(
        path, model_kwargs={**settings["model_kwargs"], "trust_remote_code": settings["trust_remote_code"]}
    )
    size = transformer.auto_model.config.hidden_size
    return SentenceTransformer(modules=[transformer, Pooling(size, pooling), Normalize()], device="cpu")


def _hint(path: str) -> str:
    if Path(path).exists():
        return "check that the folder holds a whole model; `embedctl doctor` shows the installed versions"
    return (
        "check the name and the network (`embedctl doctor` says whether the hub can be reached), or give a local folder"
    )


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a model, without its weights.

    Raises:
        ModelError: there is none.
    """
    _expect_a_model(path)
    with loading(path, f"{path}: has no tokenizer that can be loaded", _hint(path)):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(path)


def hash_weights(model: torch.nn.Module) -> str:
    """A digest of all weights and their names: equal bytes, equal digest, wherever they are stored."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

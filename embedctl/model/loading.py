"""Loading of sentence-transformers models and tokenizers from a folder or the Hugging Face Hub.

A transformers checkpoint without modules.json gets a pooling and a normalization module. Other models are not changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from embedctl import console
from embedctl.errors import ModelError, first_line
from embedctl.model.adapters import merge_adapters
from embedctl.model.completeness import check_files, check_model, whole_tokenizers, whole_weights
from embedctl.model.configuration import check_configuration
from embedctl.model.paths import check_model_path
from embedctl.model.trust import check_code, code_refused, hub_pickle_refused, model_modules, safe_loading
from embedctl.remote import hub

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# What the libraries raise for wrong files; a wrong value in a configuration often ends in an error of their code.
LIBRARY_ERRORS = (
    *(OSError, ValueError, LookupError, ImportError, RuntimeError, SafetensorError, StrictDataclassError),
    *(TypeError, AttributeError, ArithmeticError, AssertionError),
)


def load_sentence_transformer(
    path: str, *, dtype: torch.dtype = torch.float32, trust_remote_code: bool = False, pooling: str | None = None
) -> SentenceTransformer:
    """Load a model on the CPU.

    Args:
        path: a folder or a Hugging Face Hub name.
        dtype: the type to which the weights are converted.
        trust_remote_code: whether Python code of the model may run.
        pooling: mean (the default), cls or lasttoken; used only for a transformers checkpoint without modules.json.

    Raises:
        ModelError: the model does not exist or cannot be read.
    """
    check_model_path(path)
    with loading_context(path, f"{path}: the embedding model cannot be loaded"), torch.random.fork_rng(devices=[]):
        check_model(path, trust_remote_code=trust_remote_code)
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

        torch.manual_seed(0)  # weights missing from the checkpoint (an unused pooler) are equal in every run
        trust = {"trust_remote_code": trust_remote_code}
        settings: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
        if Path(path).is_dir() and not Path(path, "modules.json").exists():
            transformer = Transformer(
                path, model_kwargs=settings | trust, config_kwargs=dict(trust), processor_kwargs=dict(trust)
            )
            pooling_module = Pooling(transformer.auto_model.config.hidden_size, pooling or "mean")
            model = SentenceTransformer(modules=[transformer, pooling_module, Normalize()], device="cpu")
        else:
            model = SentenceTransformer(path, device="cpu", trust_remote_code=trust_remote_code, model_kwargs=settings)
    for module in model.modules():
        tokenizer: Any = getattr(module, "tokenizer", None)
        if getattr(tokenizer, "pad_token", "") is None and tokenizer.eos_token is not None:
            tokenizer.pad_token = tokenizer.eos_token  # any token serves, because padding is masked
            console.info(f"{path}: the tokenizer has no padding token; {tokenizer.eos_token} is used")
    merge_adapters(model)
    return model


@contextmanager
def loading_context(path: str, problem: str, hint: str = "") -> Iterator[None]:
    """Convert errors of the libraries in a with-block that loads a model to a ModelError, and suppress their output.

    If the Hugging Face Hub is not reachable, only cached models are used. The message of the error is `problem` and the
    library's message. The default hint depends on whether `path` is a folder.
    """
    if not hint and Path(path).exists():
        hint = "copy the complete model to the folder again, or use another model. If the message names a package or a "
        hint += "class, install the version that the model requires; `embedctl doctor` prints the installed versions"
    elif not hint:
        hint = "check the spelling of the name, and run `embedctl doctor` to check the connection to the Hub. For a "
        hint += "private model, run `hf auth login` first; without a connection, use the folder of a model"
    hub.go_offline_if_unreachable(path)
    silence_transformers()
    try:
        with safe_loading(path), whole_weights(path), whole_tokenizers():
            yield
    except LIBRARY_ERRORS as cause:
        if "trust_remote_code" in str(cause):
            raise code_refused(path, first_line(cause)) from cause
        if not Path(path).exists() and "model.safetensors" in str(cause):
            raise hub_pickle_refused(path) from cause
        raise ModelError(f"{problem}: {first_line(cause)}", hint) from cause


def silence_transformers() -> None:
    """Disable progress bars and load reports of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def load_tokenizer(path: str) -> Any:
    """Load the tokenizer of a model without its weights.

    Raises:
        ModelError: it cannot be loaded, or the model comes with Python code, which this function never runs.
    """
    check_model_path(path)
    with loading_context(path, f"{path}: the tokenizer cannot be loaded"):
        folder = hub.configuration_folder(path)
        if folder:
            check_configuration(folder)
        check_code(path, "omit --model: validate-data runs no code of a model")
        check_files(path)
        from transformers import AutoTokenizer

        first = next(iter(model_modules(folder)), {}) if folder else {}
        if str(first.get("type")).endswith(".Router"):
            message = f"{path}: the model has a tokenizer for queries and one for passages, which are not counted"
            raise ModelError(message, "omit --model")
        name, subfolder = hub.full_name(path), str(first.get("path", ""))
        return AutoTokenizer.from_pretrained(name, subfolder=subfolder, trust_remote_code=False)


def hash_weights(model: torch.nn.Module) -> str:
    """Return a digest of all weights and their names; it does not depend on the device or the file."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

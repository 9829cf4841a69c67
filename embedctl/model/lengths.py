"""Maximum lengths of texts in tokens: what a model states, how many positions it has, and which values a run uses.

The model's own length is that of sentence-transformers: `query_length` or `document_length` of its first module, else
`max_seq_length`, which sentence-transformers reads from sentence_bert_config.json, else from the tokenizer and from
the number of positions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from embedctl.config import flag_of
from embedctl.errors import ConfigError
from embedctl.files import read_json_object
from embedctl.model.loading import loading_context
from embedctl.model.trust import model_modules
from embedctl.remote import hub
from embedctl.tokens.prompts import PromptKind
from embedctl.tokens.raw_text import TASKS

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

UNLIMITED = sys.maxsize
DEFAULTS: dict[PromptKind, int] = {"query": 128, "passage": 512}  # for models that state a larger length


class LengthLimits(NamedTuple):
    """What a model states about the length of queries or passages, in tokens."""

    own: int | None  # longer texts are truncated by the model; None: its first module, `module`, does not truncate
    positions: int = UNLIMITED  # number of tokens for which it has positions
    module: str = "Transformer"


def first_position(transformer: Any) -> int:
    """Return the position id of the first token of a text: padding_idx + 1 for RoBERTa models, else 0."""
    for module in transformer.modules():
        table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
        if isinstance(table, torch.nn.Embedding) and isinstance(padding, int):
            return padding + 1
    return 0


def count_positions(transformer: Any) -> int:
    """Return the number of tokens for which a transformers model has positions; `UNLIMITED` if it states no limit.

    Examples of models without a limit are T5, whose positions are relative, and XLNet, whose configuration states -1.
    """
    stated = getattr(getattr(transformer, "config", None), "max_position_embeddings", None)
    return int(stated) - first_position(transformer) if stated and stated > 0 else UNLIMITED


def positions_of(model: torch.nn.Module) -> int:
    """Return the lowest number of positions of the transformers models in a model or module."""
    transformers = (module.auto_model for module in model.modules() if hasattr(module, "auto_model"))
    return min(map(count_positions, transformers), default=UNLIMITED)


def input_module(model: SentenceTransformer, kind: PromptKind) -> Any:
    """Return the module that tokenizes queries or passages; a Router can have one for each of them."""
    first: Any = model[0]
    routes = getattr(first, "sub_modules", None)
    if routes is None:
        return first
    task = TASKS[kind]
    return routes[task if task in routes else first.default_route or next(iter(routes))][0]


def length_limits(model: SentenceTransformer, kind: PromptKind) -> LengthLimits:
    """Return what a loaded model states about the length of queries or passages."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    module = input_module(model, kind)
    if not isinstance(module, Transformer):
        return LengthLimits(None, module=type(module).__name__)
    positions = positions_of(module)
    stated = getattr(module, f"{TASKS[kind]}_length", None) or module.max_seq_length or UNLIMITED
    return LengthLimits(min(int(stated), positions), positions)


def choose_length(kind: PromptKind, given: int | None, limits: LengthLimits, model: str) -> int | None:
    """Return the maximum length of queries or passages: the given one, else the model's own, at most `DEFAULTS`.

    None means that the model does not truncate texts.

    Raises:
        ConfigError: a length is given, and the model does not truncate texts or has fewer positions.
    """
    flag = flag_of(f"{kind}_max_len")
    if given is None:
        return None if limits.own is None else min(limits.own, DEFAULTS[kind])
    if limits.own is None:
        raise ConfigError(
            f"{flag} {given}: the module {limits.module} of {model} does not truncate texts", f"omit {flag}"
        )
    check_positions(flag, given, limits.positions, model)
    return given


def check_positions(flag: str, length: int, positions: int, model: str) -> None:
    """Raise a ConfigError if a given maximum length is above the number of the model's positions."""
    if length > positions:
        message = f"{flag} {length}: the model {model} has positions for {positions} tokens only"
        raise ConfigError(message, f"use {flag} {positions} or less")


def allow_length(model: SentenceTransformer, kind: PromptKind, length: int | None) -> None:
    """Set the model's own maximum length to that of a run, if that is longer; else to at most its positions."""
    if length is None:
        return
    module = input_module(model, kind)
    allowed = min(max(length, int(module.max_seq_length or UNLIMITED)), positions_of(module))
    if allowed < UNLIMITED:
        module.max_seq_length = allowed


def remove_truncation(model: SentenceTransformer) -> None:
    """Remove the truncation and padding of earlier calls from the tokenizers, which would be saved with them."""
    for module in model.modules():
        tokenizer: Any = getattr(module, "tokenizer", None)
        if backend := getattr(tokenizer, "backend_tokenizer", None):
            backend.no_truncation()
            backend.no_padding()
            tokenizer.init_kwargs.pop("max_length", None)


def write_length(model: SentenceTransformer, folder: Path) -> None:
    """Write the maximum length to sentence_bert_config.json of a saved model, where other programs read it."""
    file, length = folder / "sentence_bert_config.json", getattr(model[0], "max_seq_length", None)
    if file.is_file() and isinstance(length, int) and length < UNLIMITED:
        text = json.dumps(read_json_object(file) | {"max_seq_length": length}, indent=4)
        file.write_text(text, encoding="utf-8")


def read_length_limits(path: str, tokenizer: Any) -> dict[PromptKind, LengthLimits]:
    """Return what the files of a model state about lengths; the weights are not read.

    Raises:
        ModelError: the configuration of the model cannot be read.
    """
    with loading_context(path, f"{path}: the configuration of the model cannot be read"):
        folder = hub.configuration_folder(path)
        first = next(iter(model_modules(folder)), {}) if folder else {}
        kind = str(first.get("type", "")).rpartition(".")[2]
        if kind not in ("", "Transformer"):
            return dict.fromkeys(DEFAULTS, LengthLimits(None, module=kind))
        from sentence_transformers.sentence_transformer.modules import Transformer
        from transformers import AutoConfig, AutoModel

        subfolder = str(first.get("path", ""))
        name = hub.full_name(path)
        settings = Transformer.load_config(name, subfolder)
        config = AutoConfig.from_pretrained(name, subfolder=subfolder, trust_remote_code=False)
        with torch.device("meta"):
            transformer = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    positions = count_positions(transformer)
    own = settings.get("max_seq_length") or tokenizer.model_max_length
    stated = {kind: settings.get(f"{task}_length") or own for kind, task in TASKS.items()}
    return {kind: LengthLimits(min(int(length), positions), positions) for kind, length in stated.items()}

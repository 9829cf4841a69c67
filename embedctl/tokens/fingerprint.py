"""The identity of a tokenizer, by which results that follow from its tokens are cached."""

from __future__ import annotations

import hashlib
import json
from typing import Any

PIPELINE_PARTS = ("added_tokens", "normalizer", "pre_tokenizer", "model", "post_processor")
# settings of a tokenizer without such a pipeline that are no part of its identity
OTHER_SETTINGS = ("chat_template", "is_local", "local_files_only", "model_max_length", "name_or_path", "padding_side")


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """A digest of everything that the tokens of a transformers tokenizer follow from, except the maximum length."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = _of_python(tokenizer) if backend is None else _of_backend(backend)
    text = json.dumps([state, tokenizer.truncation_side], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def _of_backend(backend: Any) -> list[Any]:
    """The state of a fast tokenizer, without the truncation and padding that an earlier call left set."""
    pipeline = json.loads(backend.to_str())
    return [*(pipeline[name] for name in PIPELINE_PARTS), backend.encode_special_tokens]


def _of_python(tokenizer: Any) -> list[Any]:
    """The state of a tokenizer that is written in Python."""
    settings = {name: value for name, value in tokenizer.init_kwargs.items() if name not in OTHER_SETTINGS}
    tables = (settings, tokenizer.get_vocab(), tokenizer.added_tokens_decoder, tokenizer.special_tokens_map)
    state = [sorted((str(name), repr(value)) for name, value in table.items()) for table in tables]
    return [type(tokenizer).__qualname__, *state]

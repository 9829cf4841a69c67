"""Tokenization of lists of texts on all cores, and a fingerprint of a tokenizer.

Long texts are truncated before tokenization where this cannot change their tokens. Results that depend on the tokens
are cached under `tokenizer_fingerprint`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from embedctl.errors import ModelError, first_line
from embedctl.tokens.packing import Ragged
from embedctl.tokens.raw_text import RawTextTokenizer

# Estimated maximum of characters per token, by which long texts are shortened before tokenization. If a shortened text
# has fewer tokens than the limit, the whole text is tokenized.
CHARS_PER_TOKEN = 6
WIDE_CHARS_PER_TOKEN = 1.5  # for scripts such as Chinese, where one character is about one token
WIDE_BYTES = 2.2  # a text with more UTF-8 bytes per character is in such a script
PIPELINE_PARTS = ("added_tokens", "normalizer", "pre_tokenizer", "model", "post_processor")
# settings of a Python tokenizer that do not change its tokens
IGNORED_SETTINGS = ("chat_template", "is_local", "local_files_only", "model_max_length", "name_or_path", "padding_side")
SPACE, SPACE_OR_CHINESE = re.compile(r"[ \t\n\r]"), re.compile(r"[ \t\n\r\u4e00-\u9fff]")


def tokenize(tokenizer: Any, texts: Sequence[str], max_len: int | None) -> Ragged:
    """Return the token ids of texts, with special tokens, truncated to `max_len` tokens unless it is None.

    A fast tokenizer uses all cores.

    Raises:
        ModelError: the vocabulary lacks a token that the tokenizer needs.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rows = tokenizer(list(texts), truncation=max_len is not None, max_length=max_len)["input_ids"] if texts else []
        return _ragged(rows, iter)
    backend.no_padding()
    if max_len is None:
        backend.no_truncation()
        return _ragged(_encode_batch(backend, list(texts)), attrgetter("ids"))
    backend.enable_truncation(max_len, direction=tokenizer.truncation_side)
    boundary = _word_boundary(tokenizer)
    shortened = [_shorten(text, max_len, boundary) for text in texts] if boundary else list(texts)
    encodings = _encode_batch(backend, shortened)
    changed = (index for index, text in enumerate(shortened) if len(text) < len(texts[index]))
    too_short = [index for index in changed if len(encodings[index]) < max_len]
    for index, encoding in zip(too_short, _encode_batch(backend, [texts[i] for i in too_short]), strict=True):
        encodings[index] = encoding
    return _ragged(encodings, attrgetter("ids"))


def _encode_batch(backend: Any, texts: list[str]) -> list[Any]:
    try:
        encodings: list[Any] = backend.encode_batch_fast(texts)
    except Exception as cause:
        if type(cause) is not Exception:  # the class of all errors of tokenizers
            raise
        message = f"the tokenizer cannot tokenize a text: {first_line(cause)}"
        raise ModelError(message, "copy the files of the tokenizer from the base model into the folder") from cause
    return encodings


def _ragged(encodings: Sequence[Any], ids_of: Callable[[Any], Iterable[int]]) -> Ragged:
    lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
    ids = np.fromiter(chain.from_iterable(map(ids_of, encodings)), dtype=np.int32, count=int(lengths.sum()))
    return Ragged(ids, lengths)


def _word_boundary(tokenizer: Any) -> re.Pattern[str] | None:
    """Return a pattern of the characters before which a text can be cut without changing the tokens before the cut.

    Only the tokenizers of BERT models have one, because they tokenize each word independently; for others return None.
    """
    backend = tokenizer.backend_tokenizer
    kinds = [type(part).__name__ for part in (backend.normalizer, backend.pre_tokenizer, backend.model)]
    if kinds != ["BertNormalizer", "BertPreTokenizer", "WordPiece"] or tokenizer.truncation_side != "right":
        return None
    added = tokenizer.added_tokens_decoder.values()
    if not all(token.content.isascii() and not SPACE.search(token.content) for token in added):
        return None  # the text might be cut within an added token
    chinese_split = backend.normalizer.handle_chinese_chars and not any(token.single_word for token in added)
    return SPACE_OR_CHINESE if chinese_split else SPACE


def _shorten(text: str, max_len: int, boundary: re.Pattern[str]) -> str:
    """Return the beginning of a text, up to a word boundary, that probably has at least `max_len` tokens."""
    if len(text) <= max_len * WIDE_CHARS_PER_TOKEN:
        return text
    sample = text[:max_len]
    wide = not text.isascii() and len(sample.encode(errors="replace")) > WIDE_BYTES * len(sample)
    cut = boundary.search(text, int(max_len * (WIDE_CHARS_PER_TOKEN if wide else CHARS_PER_TOKEN)))
    return text[: cut.start()] if cut else text


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a digest of all that determines a tokenizer's tokens, except the maximum length."""
    if isinstance(tokenizer, RawTextTokenizer):
        return tokenizer.fingerprint
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = _python_tokenizer_state(tokenizer) if backend is None else _fast_tokenizer_state(backend)
    text = json.dumps([state, tokenizer.truncation_side], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def _fast_tokenizer_state(backend: Any) -> list[Any]:
    """Return the state of a fast tokenizer without truncation and padding, which remain set from earlier calls."""
    pipeline = json.loads(backend.to_str())
    return [*(pipeline[name] for name in PIPELINE_PARTS), backend.encode_special_tokens]


def _python_tokenizer_state(tokenizer: Any) -> list[Any]:
    settings = {name: value for name, value in tokenizer.init_kwargs.items() if name not in IGNORED_SETTINGS}
    tables = (settings, tokenizer.get_vocab(), tokenizer.added_tokens_decoder, tokenizer.special_tokens_map)
    state = [sorted((str(name), repr(value)) for name, value in table.items()) for table in tables]
    return [type(tokenizer).__qualname__, *state]

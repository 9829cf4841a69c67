"""From texts to tokens, on all cores; of a text that is far too long only the beginning is looked at.

`tokenizer_fingerprint` identifies a tokenizer: results that follow from its tokens are cached by it.
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

from embedctl.tokens.packing import Ragged

CHARS_PER_TOKEN = 6  # more than texts have, but for some that are then tokenised whole
WIDE_CHARS_PER_TOKEN = 1.5  # where a character is about a token
WIDE_BYTES = 2.2  # of a character, on average
PIPELINE_PARTS = ("added_tokens", "normalizer", "pre_tokenizer", "model", "post_processor")
# settings of a tokenizer without such a pipeline that are no part of its identity
OTHER_SETTINGS = ("chat_template", "is_local", "local_files_only", "model_max_length", "name_or_path", "padding_side")
SPACE, SPACE_OR_CHINESE = re.compile(r"[ \t\n\r]"), re.compile(r"[ \t\n\r\u4e00-\u9fff]")


def tokenize(tokenizer: Any, texts: Sequence[str], max_len: int | None) -> Ragged:
    """The tokens of texts, special ones included, cut to `max_len` if given; on all cores for a fast tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rows = tokenizer(list(texts), truncation=max_len is not None, max_length=max_len)["input_ids"] if texts else []
        return _ragged(rows, iter)
    backend.no_padding()
    if max_len is None:
        backend.no_truncation()
        return _ragged(backend.encode_batch_fast(list(texts)), attrgetter("ids"))
    backend.enable_truncation(max_len, direction=tokenizer.truncation_side)
    borders = _borders(tokenizer)
    heads = [_head(text, max_len, borders) for text in texts] if borders else list(texts)
    found = backend.encode_batch_fast(heads)
    cut = (place for place, head in enumerate(heads) if len(head) < len(texts[place]))
    short = [place for place in cut if len(found[place]) < max_len]
    for place, whole in zip(short, backend.encode_batch_fast([texts[place] for place in short]), strict=True):
        found[place] = whole
    return _ragged(found, attrgetter("ids"))


def _ragged(found: Sequence[Any], ids_of: Callable[[Any], Iterable[int]]) -> Ragged:
    lengths = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
    ids = np.fromiter(chain.from_iterable(map(ids_of, found)), dtype=np.int32, count=int(lengths.sum()))
    return Ragged(ids, lengths)


def _borders(tokenizer: Any) -> re.Pattern[str] | None:
    """What begins a new word, where its tokens follow from the word alone, as in BERT's family; else None."""
    backend = tokenizer.backend_tokenizer
    kinds = [type(part).__name__ for part in (backend.normalizer, backend.pre_tokenizer, backend.model)]
    if kinds != ["BertNormalizer", "BertPreTokenizer", "WordPiece"] or tokenizer.truncation_side != "right":
        return None
    added = tokenizer.added_tokens_decoder.values()
    if not all(token.content.isascii() and not SPACE.search(token.content) for token in added):
        return None  # it could lie across the border
    apart = backend.normalizer.handle_chinese_chars and not any(token.single_word for token in added)
    return SPACE_OR_CHINESE if apart else SPACE


def _head(text: str, max_len: int, borders: re.Pattern[str]) -> str:
    """So much of a text as is likely to have `max_len` tokens, up to a border between words."""
    if len(text) <= max_len * WIDE_CHARS_PER_TOKEN:
        return text
    sample = text[:max_len]
    wide = not text.isascii() and len(sample.encode(errors="replace")) > WIDE_BYTES * len(sample)
    border = borders.search(text, int(max_len * (WIDE_CHARS_PER_TOKEN if wide else CHARS_PER_TOKEN)))
    return text[: border.start()] if border else text


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

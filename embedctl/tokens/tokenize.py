"""From texts to tokens, on all cores; of a text that is far too long only the beginning is looked at."""

from __future__ import annotations

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

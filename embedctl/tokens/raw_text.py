"""Texts as arrays of bytes, for models that sentence-transformers tokenizes itself.

The token store, the batches and the encoding work on arrays of token ids. For such a model, the ids of a text are the
bytes of its UTF-8 form, after its maximum length and a mark that contains the task and the prompt. `parse` is the
inverse.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedctl.tokens.prompts import PromptKind

SEPARATOR = "\0"
TASKS: dict[PromptKind, str] = {"query": "query", "passage": "document"}  # the names of sentence-transformers


class RawText(NamedTuple):
    """A text, its prompt, and its task in sentence-transformers, which is None outside queries and documents."""

    task: str | None
    prompt: str
    text: str
    max_len: int | None = None  # in tokens; None: the model's own maximum length


class RawTextTokenizer:
    """Takes the place of a transformers tokenizer: the tokens of a text are its bytes. Nothing is truncated."""

    fingerprint = "raw text with its maximum length"  # the bytes of a text do not depend on the model
    truncation_side = "right"
    model_max_length = sys.maxsize

    def __call__(self, texts: Sequence[str], *, truncation: bool, max_length: int | None) -> dict[str, list[list[int]]]:
        """Return {"input_ids": the bytes of each text after its limit}; the model truncates when it tokenizes."""
        limit = max_length if truncation and max_length is not None and max_length < self.model_max_length else ""
        return {"input_ids": [list(f"{limit}{SEPARATOR}{text}".encode("utf-8", "surrogatepass")) for text in texts]}


def mark(kind: PromptKind | None, prompt: str) -> str:
    """Return what is prepended to a text, so that `parse` finds its task and its prompt."""
    return f"{SEPARATOR}{TASKS[kind] if kind else ''}{SEPARATOR}{prompt}{SEPARATOR}"


def parse(ids: NDArray[np.integer]) -> RawText:
    """Return the text, prompt, task and maximum length of an array of bytes."""
    limit, text = ids.astype(np.uint8).tobytes().decode("utf-8", "surrogatepass").split(SEPARATOR, 1)
    max_len = int(limit) if limit else None
    if not text.startswith(SEPARATOR):
        return RawText(None, "", text, max_len)
    _, task, prompt, text = text.split(SEPARATOR, 3)
    return RawText(task or None, prompt, text, max_len)

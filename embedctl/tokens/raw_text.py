"""Texts as arrays of bytes, for models that sentence-transformers tokenizes itself.

The token store, the batches and the encoding work on arrays of token ids. For such a model, the ids of a text are the
bytes of its UTF-8 form, after a mark that contains the task and the prompt. `parse` is the inverse.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedctl.tokens.prompts import PromptKind

SEPARATOR = "\0"
TASKS = {"query": "query", "passage": "document"}  # the names of sentence-transformers


class RawText(NamedTuple):
    """A text, its prompt, and its task in sentence-transformers, which is None outside queries and documents."""

    task: str | None
    prompt: str
    text: str


class RawTextTokenizer:
    """Takes the place of a transformers tokenizer: the tokens of a text are its bytes. Nothing is truncated."""

    fingerprint = "raw text"  # the bytes of a text do not depend on the model
    truncation_side = "right"
    model_max_length = sys.maxsize

    def __call__(self, texts: Sequence[str], *, truncation: bool, max_length: int | None) -> dict[str, list[list[int]]]:
        """Return {"input_ids": the bytes of each text}; the limit is that of the model, which tokenizes later."""
        return {"input_ids": [list(text.encode("utf-8", "surrogatepass")) for text in texts]}


def mark(kind: PromptKind | None, prompt: str) -> str:
    """Return what is prepended to a text, so that `parse` finds its task and its prompt."""
    return f"{SEPARATOR}{TASKS[kind] if kind else ''}{SEPARATOR}{prompt}{SEPARATOR}"


def parse(ids: NDArray[np.integer]) -> RawText:
    """Return the text, prompt and task of an array of bytes."""
    text = ids.astype(np.uint8).tobytes().decode("utf-8", "surrogatepass")
    if not text.startswith(SEPARATOR):
        return RawText(None, "", text)
    _, task, prompt, text = text.split(SEPARATOR, 3)
    return RawText(task or None, prompt, text)

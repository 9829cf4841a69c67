"""Encode queries and passages with their prompts, and normalize the vectors for cosine similarity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedctl.search.exact import Vectors
from embedctl.tokens.prompts import first_prompt

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder


# Texts (N) -> vectors (N, H), with the options prompt, dim and show_progress of `Embedder.encode`.
EncodeFunction = Callable[..., Vectors]


def normalize(vectors: Vectors) -> Vectors:
    """Return the vectors (N, H) scaled to length 1; a zero vector stays zero."""
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths.clip(1e-12), dtype=np.float32)


def query_vectors(
    embedder: Embedder,
    queries: Sequence[str],
    row_prompts: Sequence[str | None],
    *,
    prompt: str | None = None,
    dim: int | None = None,
    show_progress: bool = False,
    encode: EncodeFunction | None = None,
) -> Vectors:
    """Return the vectors (Q, H) of queries, with length 1.

    Args:
        embedder: the model.
        queries: Q texts.
        row_prompts: for each query the prompt given in its row, which has priority over `prompt`, or None.
        prompt: prompt of the other queries; default: the query prompt of the model.
        dim: number of leading dimensions to keep; default: all.
        show_progress: whether to show a progress bar.
        encode: function that encodes the texts; default: `embedder.encode`.
    """
    encode = encode or embedder.encode
    default = embedder.prompt_for("query")
    prompts = np.array([first_prompt(row_prompt, prompt, default) for row_prompt in row_prompts], dtype=object)
    vectors = np.zeros((len(queries), dim or embedder.dimension), dtype=np.float32)
    for distinct in dict.fromkeys(prompts):
        indices = np.flatnonzero(prompts == distinct).tolist()
        texts = [queries[index] for index in indices]
        vectors[indices] = encode(texts, prompt=distinct, dim=dim, show_progress=show_progress and "queries")
    return normalize(vectors)


def passage_vectors(
    embedder: Embedder,
    passages: Sequence[str],
    *,
    prompt: str | None = None,
    dim: int | None = None,
    show_progress: bool = False,
    encode: EncodeFunction | None = None,
) -> Vectors:
    """Return the vectors (D, H) of passages, with length 1. Default of `prompt`: the passage prompt of the model."""
    prompt = first_prompt(prompt, embedder.prompt_for("passage"))
    encode = encode or embedder.encode
    return normalize(encode(passages, prompt=prompt, dim=dim, show_progress=show_progress and "passages"))

"""The vectors of queries and passages as search compares them: each query with its prompt, by cosine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedctl.search.exact import Vectors
from embedctl.tokens.prompts import first_prompt

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder


EncodeFunction = Callable[..., Vectors]  # texts (N) with `Embedder.encode`'s prompt, dim and show_progress to (N, H)


def normalize(vectors: Vectors) -> Vectors:
    """The vectors (N, H) at length 1; a zero vector stays zero."""
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths.clip(1e-12), dtype=np.float32)


def query_vectors(
    embedder: Embedder,
    queries: Sequence[str],
    own: Sequence[str | None],
    *,
    prompt: str | None = None,
    dim: int | None = None,
    show_progress: bool = False,
    encode: EncodeFunction | None = None,
) -> Vectors:
    """Vectors (Q, H) of length 1.

    Args:
        embedder: the model.
        queries: Q texts.
        own: the prompt of each query's row, which wins over any other, or None.
        prompt: put before the other queries; the model's query prompt by default.
        dim: leading dimensions to keep.
        show_progress: whether a bar shows rate and time left.
        encode: in place of the model's own, which it is by default.
    """
    encode = encode or embedder.encode
    default = embedder.prompt_for("query")
    prompts = np.array([first_prompt(mine, prompt, default) for mine in own], dtype=object)
    vectors = np.zeros((len(queries), dim or embedder.dimension), dtype=np.float32)
    for shared in dict.fromkeys(prompts):
        places = np.flatnonzero(prompts == shared).tolist()
        texts = [queries[place] for place in places]
        vectors[places] = encode(texts, prompt=shared, dim=dim, show_progress=show_progress and "queries")
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
    """Vectors (D, H) of length 1; `prompt` is put before each passage, the model's own by default."""
    prompt = first_prompt(prompt, embedder.prompt_for("passage"))
    encode = encode or embedder.encode
    return normalize(encode(passages, prompt=prompt, dim=dim, show_progress=show_progress and "passages"))

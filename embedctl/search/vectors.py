"""The vectors of queries and passages as search compares them: each query with its prompt, by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from embedctl.search.exact import Vectors
from embedctl.tokens.prompts import Kind, first_prompt


class Encodes(Protocol):
    """What gives vectors: an `Embedder`, or one whose vectors are kept."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    def own_prompt(self, kind: Kind) -> str:
        """See `Embedder.own_prompt`."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        dim: int | None = None,
        show_progress: bool | str = False,
    ) -> Vectors:
        """See `Embedder.encode`."""


def unit(vectors: Vectors) -> Vectors:
    """The vectors (N, H) at length 1; a zero vector stays zero."""
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths.clip(1e-12), dtype=np.float32)


def query_vectors(
    embedder: Encodes,
    queries: Sequence[str],
    own: Sequence[str | None],
    *,
    prompt: str | None = None,
    dim: int | None = None,
    show_progress: bool = False,
) -> Vectors:
    """Vectors (Q, H) of length 1.

    Args:
        embedder: the model.
        queries: Q texts.
        own: the prompt of each query's row, which wins over any other, or None.
        prompt: put before the other queries; the model's query prompt by default.
        dim: leading dimensions to keep.
        show_progress: whether a bar shows rate and time left.
    """
    default = embedder.own_prompt("query")
    prompts = np.array([first_prompt(mine, prompt, default) for mine in own], dtype=object)
    vectors = np.zeros((len(queries), dim or embedder.dimension), dtype=np.float32)
    for shared in dict.fromkeys(prompts):
        places = np.flatnonzero(prompts == shared).tolist()
        texts = [queries[place] for place in places]
        vectors[places] = embedder.encode(texts, prompt=shared, dim=dim, show_progress=show_progress and "queries")
    return unit(vectors)


def passage_vectors(
    embedder: Encodes,
    passages: Sequence[str],
    *,
    prompt: str | None = None,
    dim: int | None = None,
    show_progress: bool = False,
) -> Vectors:
    """Vectors (D, H) of length 1; `prompt` is put before each passage, the model's own by default."""
    prompt = first_prompt(prompt, embedder.own_prompt("passage"))
    return unit(embedder.encode(passages, prompt=prompt, dim=dim, show_progress=show_progress and "passages"))

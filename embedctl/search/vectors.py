"""Encode queries and passages with their prompts, and prepare the vectors for the model's similarity function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from embedctl.search.exact import Vectors
from embedctl.tokens.prompts import first_prompt

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

# Texts (N) -> vectors (N, H), with the options prompt, kind, dim and show_progress of `Embedder.encode`.
EncodeFunction = Callable[..., Vectors]


def query_vectors(
    embedder: Embedder,
    queries: Sequence[str],
    row_prompts: Sequence[str | None],
    *,
    prompt: str | None = None,
    dim: int | None = None,
    encode: EncodeFunction | None = None,
) -> Vectors:
    """Encode queries with a progress bar and return their vectors (Q, H), prepared for the similarity function.

    The prompt of a query is that of its row, `prompt`, or the query prompt of the model: the first that is not None.
    `dim` is the number of leading dimensions to keep, and `encode` is called instead of `embedder.encode`.
    """
    encode, default = encode or embedder.encode, embedder.prompt_for("query")
    prompts = np.array([first_prompt(row_prompt, prompt, default) for row_prompt in row_prompts], dtype=object)
    encode_queries = partial(encode, kind="query", dim=dim, show_progress="queries")
    groups = [np.flatnonzero(prompts == distinct).tolist() for distinct in dict.fromkeys(prompts)]
    parts = [encode_queries([queries[index] for index in group], prompt=prompts[group[0]]) for group in groups]
    vectors = np.concatenate(parts)[np.concatenate(groups).argsort()]
    return embedder.similarity.prepare(vectors)


def passage_vectors(
    embedder: Embedder,
    passages: Sequence[str],
    *,
    prompt: str | None = None,
    dim: int | None = None,
    encode: EncodeFunction | None = None,
) -> Vectors:
    """Encode passages, by default with the passage prompt of the model, and return their prepared vectors (D, H)."""
    prompt = first_prompt(prompt, embedder.prompt_for("passage"))
    encode = encode or embedder.encode
    vectors = encode(passages, prompt=prompt, kind="passage", dim=dim, show_progress="passages")
    return embedder.similarity.prepare(vectors)

"""Exact search by inner product: faiss on the CPU, torch in blocks on a GPU and where faiss is missing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl.errors import ModelError

Vectors = NDArray[np.float32]
BLOCK_CELLS = 1 << 25  # similarities held at a time


def search(queries: Vectors, corpus: Vectors, k: int, device: str | None = None) -> tuple[Vectors, NDArray[np.int64]]:
    """The k nearest documents of each query.

    Args:
        queries: (Q, H).
        corpus: (D, H).
        k: clipped to D.
        device: cpu or a GPU; the GPU where there is one by default.

    Returns:
        scores (Q, k) descending and ids (Q, k); equal scores stand in the order of their ids.

    Raises:
        ModelError: a vector holds NaN or infinity.
    """
    for name, vectors in (("query", queries), ("document", corpus)):
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise ModelError(f"the vector of {name} {broken[0]} is not finite", "the model is damaged, or its precision too low")
    k = min(k, len(corpus))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        scores, ids = _search_faiss(queries, corpus, k)
    else:
        scores, ids = search_blocks(queries, corpus, k, device)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _search_faiss(queries: Vectors, corpus: Vectors, k: int) -> tuple[Vectors, NDArray[np.int64]]:
    try:
        import faiss
    except ImportError:
        return search_blocks(queries, corpus, k, "cpu")
    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(np.ascontiguousarray(corpus, dtype=np.float32))
    scores, ids = index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
    return scores, ids.astype(np.int64)


def search_blocks(queries: Vectors, corpus: Vectors, k: int, device: str) -> tuple[Vectors, NDArray[np.int64]]:
    """The same through torch: blocks of queries against the whole corpus."""
    corpus_DH = torch.from_numpy(np.ascontiguousarray(corpus)).to(device)
    step = max(1, BLOCK_CELLS // len(corpus))
    parts = []
    for start in range(0, len(queries), step):
        scores_QD = torch.from_numpy(np.ascontiguousarray(queries[start : start + step])).to(device) @ corpus_DH.T
        parts.append(scores_QD.topk(k, dim=1))
    scores = np.concatenate([part[0].cpu().numpy() for part in parts])
    return scores, np.concatenate([part[1].cpu().numpy() for part in parts])

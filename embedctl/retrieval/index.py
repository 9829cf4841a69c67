"""Exact search by inner product, in blocks of torch, on the CPU as on a GPU.

Nothing approximate here, and no index on the disk. Q queries, D documents, B of them at a time, H dimensions, k
nearest. faiss's exact search takes twice as long on a CPU: its wheels bring a slower matrix product, and it looks at
every similarity where a comparison with the k-th best so far leaves nearly none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedctl.errors import ModelError

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]

BLOCK_CELLS = 1 << 24  # similarities held at a time
BLOCK_DOCUMENTS = {"cpu": 1 << 14}  # documents at a time
GPU_BLOCK_DOCUMENTS = 1 << 18


def search(queries: Vectors, corpus: Vectors, k: int, device: str | None = None) -> tuple[Vectors, Ids]:
    """The k nearest documents of each query.

    Args:
        queries: (Q, H).
        corpus: (D, H).
        k: clipped to D.
        device: as torch names it; the GPU where there is one by default.

    Returns:
        scores (Q, k) descending and ids (Q, k); of equal scores the lower id comes first and is the one kept.

    Raises:
        ModelError: a vector holds NaN or infinity.
    """
    _expect_finite("query", queries)
    _expect_finite("document", corpus)
    k = min(k, len(corpus))
    if k == 0 or len(queries) == 0:
        return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
    return _search_blocks(queries, corpus, k, device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _search_blocks(queries: Vectors, corpus: Vectors, k: int, device: str) -> tuple[Vectors, Ids]:
    """The corpus passes by once, in blocks, and the best so far are kept."""
    scores_Qk = torch.full((len(queries), k), -torch.inf, device=device)
    ids_Qk = torch.zeros((len(queries), k), dtype=torch.int64, device=device)
    queries_QH = torch.from_numpy(_dense(queries)).to(device)
    for documents in _slices(len(corpus), BLOCK_DOCUMENTS.get(device, GPU_BLOCK_DOCUMENTS)):
        corpus_BH = torch.from_numpy(_dense(corpus[documents])).to(device)
        for rows in _slices(len(queries), max(1, BLOCK_CELLS // len(corpus_BH))):
            similarities = queries_QH[rows] @ corpus_BH.T
            begins = documents.start == 0
            fresh, places = nearest(similarities, k) if begins else above(similarities, scores_Qk[rows, -1])
            scores, ids = torch.cat([scores_Qk[rows], fresh], 1), torch.cat([ids_Qk[rows], places + documents.start], 1)
            scores_Qk[rows], kept = nearest(scores, k)
            ids_Qk[rows] = ids.gather(1, kept)
    return scores_Qk.cpu().numpy(), ids_Qk.cpu().numpy()


def above(scores: Tensor, least_Q: Tensor) -> tuple[Tensor, Tensor]:
    """Those of each row's scores (Q, N) that are higher than `least_Q`, and their places, in order.

    Returns:
        scores and places (Q, the most of a row), filled up with -inf and 0.
    """
    row, place = (scores > least_Q[:, None]).nonzero(as_tuple=True)
    number_Q = torch.bincount(row, minlength=len(scores))
    column = torch.arange(len(row), device=row.device) - (number_Q.cumsum(0) - number_Q)[row]
    most = int(number_Q.max())
    values = scores.new_full((len(scores), most), -torch.inf)
    places = row.new_zeros((len(scores), most))
    values[row, column], places[row, column] = scores[row, place], place
    return values, places


def nearest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of each row (Q, N) and their places, descending; of equal ones the earlier.

    `topk` keeps any of several that share the k-th score, so those rows are settled one by one.
    """
    k = min(k, scores.shape[1])
    values, places = scores.topk(k, dim=1)
    last = values[:, -1:]
    for row in torch.nonzero((scores >= last).sum(1) > k).flatten().tolist():
        above = torch.nonzero(scores[row] > last[row]).flatten()
        level = torch.nonzero(scores[row] == last[row]).flatten()
        places[row] = torch.cat([above, level[: k - len(above)]])
    places = places.sort(dim=1).values
    values, order = scores.gather(1, places).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, order)


def _slices(size: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _dense(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _expect_finite(what: str, vectors: Vectors) -> None:
    for rows in _slices(len(vectors), GPU_BLOCK_DOCUMENTS):
        broken = np.flatnonzero(~np.isfinite(vectors[rows]).all(axis=1))
        if len(broken):
            message = f"the vector of {what} {rows.start + broken[0]} is not finite"
            raise ModelError(message, "the model is damaged, or its precision is too low for it")

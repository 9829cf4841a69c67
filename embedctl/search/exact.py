"""Exact search by inner product: faiss on the CPU, torch in blocks on a GPU and where faiss is missing.

Nothing approximate here, and no index on the disk. Q queries, D documents, B of them at a time, H dimensions, k
nearest.
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
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return search_faiss(queries, corpus, k) if device == "cpu" else search_blocks(queries, corpus, k, device)


def search_faiss(queries: Vectors, corpus: Vectors, k: int) -> tuple[Vectors, Ids]:
    """`search` by what faiss's IndexFlatIP runs, without its copy of the corpus; by torch where faiss is missing.

    faiss keeps any of the documents that share the k-th score: where one more has it, torch decides for that query.
    """
    try:
        import faiss
    except ImportError:
        return search_blocks(queries, corpus, k, "cpu")
    scores, ids = faiss.knn(_dense(queries), _dense(corpus), min(k + 1, len(corpus)), metric=faiss.METRIC_INNER_PRODUCT)
    scores, ids = _ordered(scores, ids.astype(np.int64))
    tied = np.flatnonzero(scores[:, k] == scores[:, k - 1]) if k < len(corpus) else ()
    scores, ids = scores[:, :k], ids[:, :k]
    if len(tied):
        scores[tied], ids[tied] = search_blocks(queries[tied], corpus, k, "cpu")
    return scores, ids


def search_blocks(queries: Vectors, corpus: Vectors, k: int, device: str) -> tuple[Vectors, Ids]:
    """`search` through torch: the corpus passes by once, in blocks, and what beats the k-th best so far is kept."""
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


def _ordered(scores: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _slices(size: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _dense(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _expect_finite(what: str, vectors: Vectors) -> None:
    suspects = np.flatnonzero(~np.isfinite(vectors.sum(axis=1)))  # a sum is quick, and shows any that is not finite
    broken = suspects[~np.isfinite(vectors[suspects]).all(axis=1)]
    if len(broken):
        message = f"the vector of {what} {broken[0]} is not finite"
        raise ModelError(message, "the model is damaged, or its precision is too low for it")

"""Exact search by inner product: faiss on the CPU, torch in blocks on a GPU and where scores are equal.

Nothing approximate here, and no index on the disk. Q queries, D documents, B of them at a time, H dimensions, k
nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedctl.errors import ModelError

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]
# (rows, k) to scores (B, k) and ids (B, k) for a block of B queries; id -1 where fewer than k were found
Finder = Callable[[slice, int], tuple[Vectors, Ids]]

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
    return search_faiss(queries, corpus, k) if device == "cpu" else search_torch(queries, corpus, k, device)


def exact(query_QH: Vectors, corpus_DH: Vectors, device: str = "cpu") -> Finder:
    """Find the nearest by `search`."""
    return lambda rows, k: search(query_QH[rows], corpus_DH, k, device)


def search_faiss(queries: Vectors, corpus: Vectors, k: int) -> tuple[Vectors, Ids]:
    """`search` by what faiss's IndexFlatIP runs, without its copy of the corpus.

    faiss keeps any of the documents that share the k-th score: where one more has it, torch decides for that query.
    """
    import faiss

    scores, ids = faiss.knn(_dense(queries), _dense(corpus), min(k + 1, len(corpus)), metric=faiss.METRIC_INNER_PRODUCT)
    order = np.lexsort((ids, -scores), axis=1)
    scores, ids = np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1).astype(np.int64)
    tied = np.flatnonzero(scores[:, k] == scores[:, k - 1]) if k < len(corpus) else ()
    scores, ids = scores[:, :k], ids[:, :k]
    if len(tied):
        scores[tied], ids[tied] = search_torch(queries[tied], corpus, k, "cpu")
    return scores, ids


def search_torch(queries: Vectors, corpus: Vectors, k: int, device: str) -> tuple[Vectors, Ids]:
    """`search` by torch."""
    return search_blocks(queries, _blocks(corpus, device), k, device)


def search_blocks(queries: Vectors, blocks: Iterable[Vectors], k: int, device: str) -> tuple[Vectors, Ids]:
    """`search` by torch in a corpus of which one block (B, H) is held at a time; k is at most the corpus's length."""
    queries_QH = torch.from_numpy(_dense(queries)).to(device)
    found, first_id = TopK(len(queries), k, device), 0
    for block in blocks:
        block_BH = torch.from_numpy(_dense(block)).to(device)
        for rows in _slices(len(queries), max(1, BLOCK_CELLS // len(block))):
            found.add(rows, queries_QH[rows] @ block_BH.T, first_id)
        first_id += len(block)
    return found.scores_Qk.cpu().numpy(), found.ids_Qk.cpu().numpy()


class TopK:
    """The k highest scores of each query among the documents added so far, and the documents' ids.

    Each row is in descending order, of equal scores the lower id first. Blocks are added in the order of their ids.
    """

    def __init__(self, queries: int, k: int, device: str) -> None:
        self.k = k
        self.scores_Qk = torch.full((queries, k), -torch.inf, device=device)
        self.ids_Qk = torch.zeros((queries, k), dtype=torch.int64, device=device)

    def add(self, rows: slice, scores_RB: Tensor, first_id: int) -> None:
        """Add a block of B documents, with ids from `first_id`, for some of the queries.

        A document that only equals a query's k-th score so far has a higher id and is left out. The others are written
        behind the row's current k, in the order of their ids, so that a stable sort puts the lower id first.
        """
        begins = first_id == 0  # nothing has been found yet that would rule out the most of the first block
        least_R = _just_below_kth(scores_RB, self.k) if begins else self.scores_Qk[rows, -1]
        row, place = (scores_RB > least_R[:, None]).nonzero(as_tuple=True)
        if not len(row):
            return
        column = self.k + torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
        shape = (len(scores_RB), int(column.max()) + 1)
        scores, ids = scores_RB.new_full(shape, -torch.inf), row.new_zeros(shape)
        scores[:, : self.k], ids[:, : self.k] = self.scores_Qk[rows], self.ids_Qk[rows]
        scores[row, column], ids[row, column] = scores_RB[row, place], place + first_id
        ordered, order = scores.sort(dim=1, descending=True, stable=True)
        self.scores_Qk[rows], self.ids_Qk[rows] = ordered[:, : self.k], ids.gather(1, order[:, : self.k])


def _just_below_kth(scores_RB: Tensor, k: int) -> Tensor:
    """The highest number (R,) below each row's k-th score, or below its lowest where it has fewer than k."""
    kth_R = scores_RB.topk(min(k, scores_RB.shape[1]), dim=1).values[:, -1]
    return torch.nextafter(kth_R, torch.full_like(kth_R, -torch.inf))


def _blocks(corpus: Vectors, device: str) -> Iterator[Vectors]:
    size = BLOCK_DOCUMENTS.get(device, GPU_BLOCK_DOCUMENTS)
    return (corpus[documents] for documents in _slices(len(corpus), size))


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

"""Exact search: with faiss on a CPU, with torch on a GPU, for queries with tied scores and for distances.

Dimensions: Q queries, D documents of the corpus, B documents of a block, H of the embeddings, k nearest documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedctl.errors import ModelError
from embedctl.model.similarity import DOT, InnerProduct, Similarity
from embedctl.model.similarity import Vectors as Vectors  # re-exported

Ids = NDArray[np.int64]
# (query numbers (R,), k) -> scores (R, k) and ids (R, k); an id is -1 if fewer than k documents were found.
Searcher = Callable[[Ids, int], tuple[Vectors, Ids]]

BLOCK_SCORES = 1 << 24  # scores in memory at the same time
BLOCK_DOCUMENTS = {"cpu": 1 << 14}  # documents per block
GPU_BLOCK_DOCUMENTS = 1 << 18


def search(
    queries: Vectors, corpus: Vectors, k: int, device: str | None = None, *, similarity: Similarity
) -> tuple[Vectors, Ids]:
    """Return scores (Q, k) in descending order and ids (Q, k) of the k nearest documents, or of all D if k is larger.

    Among equal scores the lower id comes first. The default device is the GPU if there is one. The vectors are prepared
    for the similarity function; those for cosine similarity have length 1.

    Raises:
        ModelError: a vector contains NaN or infinity.
    """
    _check_finite("query", queries)
    _check_finite("document", corpus)
    k = min(k, len(corpus))
    if k == 0 or len(queries) == 0:
        return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and isinstance(similarity, InnerProduct):
        return search_faiss(queries, corpus, k)
    return search_torch(queries, corpus, k, device, similarity)


def exact_searcher(query_QH: Vectors, corpus_DH: Vectors, device: str = "cpu", *, similarity: Similarity) -> Searcher:
    """Return a searcher that calls `search`."""
    return lambda rows, k: search(query_QH[rows], corpus_DH, k, device, similarity=similarity)


def search_faiss(queries: Vectors, corpus: Vectors, k: int) -> tuple[Vectors, Ids]:
    """Search by inner product with the kernel of faiss's IndexFlatIP, but without its copy of the corpus.

    If several documents have the k-th score, faiss returns an arbitrary one of them. A query for which document k + 1
    has the same score as document k is therefore searched again with torch.
    """
    import faiss

    scores, ids = faiss.knn(
        _contiguous(queries), _contiguous(corpus), min(k + 1, len(corpus)), metric=faiss.METRIC_INNER_PRODUCT
    )
    order = np.lexsort((ids, -scores), axis=1)
    scores, ids = np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1).astype(np.int64)
    tied = np.flatnonzero(scores[:, k] == scores[:, k - 1]) if k < len(corpus) else ()
    scores, ids = scores[:, :k], ids[:, :k]
    if len(tied):
        scores[tied], ids[tied] = search_torch(queries[tied], corpus, k, "cpu", DOT)
    return scores, ids


def search_torch(queries: Vectors, corpus: Vectors, k: int, device: str, similarity: Similarity) -> tuple[Vectors, Ids]:
    """Search with torch."""
    size = BLOCK_DOCUMENTS.get(device, GPU_BLOCK_DOCUMENTS)
    blocks = (corpus[documents] for documents in _slices(len(corpus), size))
    return search_blocks(queries, blocks, k, device, similarity)


def search_blocks(
    queries: Vectors, blocks: Iterable[Vectors], k: int, device: str, similarity: Similarity
) -> tuple[Vectors, Ids]:
    """Search with torch in a corpus given as blocks (B, H), of which one at a time is on the device.

    Return scores (Q, k) and ids (Q, k); k is at most the length of the corpus.
    """
    queries_QH = torch.from_numpy(_contiguous(queries)).to(device)
    found, first_id = TopK(len(queries), k, device), 0
    for block in blocks:
        block_BH = torch.from_numpy(_contiguous(block)).to(device)
        for rows in _slices(len(queries), max(1, BLOCK_SCORES // len(block))):
            found.add(rows, similarity.scores(queries_QH[rows], block_BH), first_id)
        first_id += len(block)
    return found.scores_Qk.cpu().numpy(), found.ids_Qk.cpu().numpy()


class TopK:
    """The k highest scores of each query among the documents added so far, and the ids of these documents.

    Scores are in descending order; among equal scores the lower id comes first. Blocks are added in the order of ids.
    """

    def __init__(self, queries: int, k: int, device: str) -> None:
        self.k = k
        self.scores_Qk = torch.full((queries, k), -torch.inf, device=device)
        self.ids_Qk = torch.zeros((queries, k), dtype=torch.int64, device=device)

    def add(self, rows: slice, scores_RB: Tensor, first_id: int) -> None:
        """Add a block of B documents, whose ids start at `first_id`, for the queries `rows`.

        A document whose score is equal to the current k-th score of a query has a higher id, so it is not added. The
        other documents are appended to the current k in the order of their ids, so that a stable sort keeps the lower
        id first.
        """
        is_first_block = first_id == 0  # no k-th score is known yet, so it is computed from the block
        threshold_R = _just_below_kth(scores_RB, self.k) if is_first_block else self.scores_Qk[rows, -1]
        row, document = (scores_RB > threshold_R[:, None]).nonzero(as_tuple=True)
        if not len(row):
            return
        column = self.k + torch.arange(len(row), device=row.device) - torch.searchsorted(row, row)
        shape = (len(scores_RB), int(column.max()) + 1)
        scores, ids = scores_RB.new_full(shape, -torch.inf), row.new_zeros(shape)
        scores[:, : self.k], ids[:, : self.k] = self.scores_Qk[rows], self.ids_Qk[rows]
        scores[row, column], ids[row, column] = scores_RB[row, document], document + first_id
        ordered, order = scores.sort(dim=1, descending=True, stable=True)
        self.scores_Qk[rows], self.ids_Qk[rows] = ordered[:, : self.k], ids.gather(1, order[:, : self.k])


def _just_below_kth(scores_RB: Tensor, k: int) -> Tensor:
    """Return the highest number (R,) below the k-th score of each row, or below its lowest if it has fewer scores."""
    kth_R = scores_RB.topk(min(k, scores_RB.shape[1]), dim=1).values[:, -1]
    return torch.nextafter(kth_R, torch.full_like(kth_R, -torch.inf))


def _slices(size: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _contiguous(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _check_finite(what: str, vectors: Vectors) -> None:
    # Sums are fast to compute. A sum that is not finite can also be an overflow, so these vectors are checked again.
    candidates = np.flatnonzero(~np.isfinite(vectors.sum(axis=1)))
    invalid = candidates[~np.isfinite(vectors[candidates]).all(axis=1)]
    if len(invalid):
        message = f"the embedding of {what} {invalid[0]} (counted from 0) contains NaN or infinity"
        raise ModelError(message, "download the model again, or use another model; in training, use a lower --lr")

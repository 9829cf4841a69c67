"""Build and search a faiss index of embeddings. The texts are stored separately (textmap.py).

The index keeps the stored type of the vectors. It is in memory while it is built or searched.
Dimensions: N vectors, H of the embeddings, Q queries, k nearest vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.errors import ConfigError
from embedctl.model.similarity import MANHATTAN, Similarity
from embedctl.search.exact import Ids, Searcher, Vectors, search_blocks
from embedctl.storage.quantization import dequantize

STORAGE = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8"}
BLOCK = 1 << 16  # vectors per call of index.add
RECALL_QUERIES = 200  # queries on which `approximate_searcher` measures recall
MIN_POINTS_PER_LIST = 39  # faiss warns if there are fewer training vectors per IVF list
MAX_POINTS_PER_LIST = 256  # more training vectors per IVF list do not improve k-means
HNSW_M, EF_CONSTRUCTION, EF_SEARCH = 32, 200, 128
PROBE_FRACTION, MIN_PROBES = 16, 8  # an IVF search visits 1/16 of the lists, but at least 8


@dataclass(frozen=True)
class StoredVectors:
    """Vectors (N, H) in the stored type, in one or more memory-mapped arrays, and how they are compared."""

    parts: list[NDArray[Any]]  # arrays (n, H) in the order of the rows
    ranges: NDArray[np.float32] | None = None  # (2, H) minimum and maximum of each dimension for int8, else None
    similarity: Similarity = field(kw_only=True)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def blocks(self) -> Iterator[Vectors]:
        """Yield all vectors, prepared for the similarity function, in blocks (B, H)."""
        for part in self.parts:
            for start in range(0, len(part), BLOCK):
                yield self.similarity.prepare(dequantize(part[start : start + BLOCK], self.ranges))

    def take(self, rows: Ids) -> Vectors:
        """Return the vectors (R, H) of ascending rows (R,), prepared for the similarity function."""
        starts = np.cumsum([0, *map(len, self.parts)])
        part_of_row = np.searchsorted(starts, rows, side="right") - 1
        stored = [part[rows[part_of_row == number] - starts[number]] for number, part in enumerate(self.parts)]
        return self.similarity.prepare(dequantize(np.concatenate(stored), self.ranges))

    def sample(self, count: int) -> Vectors:
        """Return at most `count` random vectors without repetition, the same ones in each call."""
        rng = np.random.default_rng(0)
        return self.take(np.sort(rng.choice(len(self), size=min(count, len(self)), replace=False)).astype(np.int64))


def ivf_list_count(count: int) -> int:
    """Return the number of IVF lists for `count` vectors: 4 sqrt(N), as faiss recommends, or fewer if N is small."""
    return max(1, min(int(4 * count**0.5), count // MIN_POINTS_PER_LIST))


def check_metric(similarity: Similarity, dtype: str, option: str) -> None:
    """Raise a ConfigError if faiss has no index for the similarity function and the stored type."""
    if similarity is MANHATTAN and dtype != "float32":
        message = f"{option}: faiss cannot compare embeddings of --dtype {dtype} by the model's similarity function, "
        raise ConfigError(f"{message}{similarity.name} (similarity_fn_name)", "use --dtype float32")


def build_index(stored: StoredVectors, kind: str) -> Any:
    """Return a faiss index of the vectors for their similarity function; row n of the input has id n.

    The kind is flat (exact except for the rounding of the stored type), hnsw or ivf.
    """
    import faiss

    first = stored.parts[0]
    lists, storage = ivf_list_count(len(stored)), STORAGE[str(first.dtype)]
    factory = {"flat": storage, "hnsw": f"HNSW{HNSW_M}_{storage}", "ivf": f"IVF{lists},{storage}"}[kind]
    index: Any = faiss.index_factory(first.shape[1], factory, getattr(faiss, stored.similarity.faiss_metric))
    if kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = EF_CONSTRUCTION, EF_SEARCH
    if kind == "ivf":
        index.nprobe = min(lists, max(MIN_PROBES, lists // PROBE_FRACTION))
        index.cp.min_points_per_centroid = 1  # with fewer than 39 vectors there is one list, and faiss would warn
    if not index.is_trained:
        index.train(stored.sample(MAX_POINTS_PER_LIST * max(lists, 256)))
    for block in stored.blocks():
        index.add(block)
    return index


def search_index(index: Any, queries: Vectors, k: int, similarity: Similarity) -> tuple[Vectors, Ids]:
    """Return scores (Q, k) in descending order and indices of vectors (Q, k); -1 if fewer than k were found.

    The queries (Q, H) are prepared for the similarity function. If k is larger than N, N vectors are returned.
    """
    k = min(k, index.ntotal)
    if hasattr(index, "hnsw"):  # with efSearch = k, recall was only 85% for k = 400
        index.hnsw.efSearch = max(EF_SEARCH, 2 * k)
    values, ids = index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
    return similarity.from_faiss(values), ids.astype(np.int64)


def measure_recall(index: Any, stored: StoredVectors, queries: Vectors, k: int) -> float:
    """Return the recall@k of the index for queries (Q, H), compared with exact search."""
    expected = search_blocks(queries, stored.blocks(), min(k, len(stored)), "cpu", stored.similarity)[1]
    return recall(search_index(index, queries, k, stored.similarity)[1], expected)


def recall(found: Ids, expected: Ids) -> float:
    """Return the fraction of the expected ids (Q, k) that are among the found ids (Q, k) of the same query."""
    return sum(len(np.intersect1d(*pair)) for pair in zip(found, expected, strict=True)) / expected.size


def approximate_searcher(
    kind: str, query_QH: Vectors, corpus_DH: Vectors, k: int, seed: int, exact: Searcher, similarity: Similarity
) -> Searcher:
    """Build a faiss index (hnsw or ivf), print its recall, and return a searcher that uses it for up to k documents.

    Recall@k is measured with queries that `seed` selects. The vectors are prepared for the similarity function. `exact`
    answers searches for more than k documents, for which the index is slow (hnsw) or finds too few (ivf).
    """
    stored = StoredVectors([corpus_DH], similarity=similarity)
    index = build_index(stored, kind)
    sample = query_QH[np.random.default_rng(seed).permutation(len(query_QH))[:RECALL_QUERIES]]
    k = min(k, len(stored))
    found = measure_recall(index, stored, sample, k)
    queries = console.plural(len(sample), "query", "queries")
    console.info(f"--ann {kind}: recall@{k} is {found:.1%}, compared with exact search on {queries}")

    def _search(rows: Ids, depth: int) -> tuple[Vectors, Ids]:
        return exact(rows, depth) if depth > k else search_index(index, query_QH[rows], depth, similarity)

    return _search

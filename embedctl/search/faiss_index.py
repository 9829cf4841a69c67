"""A faiss index over vectors, by cosine: building it, and searching it. Lists of texts are in textmap.py.

The index holds its vectors in the type they were stored in, and in memory while it is built or searched. N vectors, H
dimensions, Q queries, k nearest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.search.exact import Finder, Ids, Vectors, search_blocks
from embedctl.search.vectors import unit
from embedctl.storage.quantization import dequantized

STORAGE = {"float32": "Flat", "float16": "SQfp16", "int8": "SQ8"}
BLOCK = 1 << 16  # vectors added at a time
SAMPLE = 200  # queries on which `approximate` measures recall
TRAINING_POINTS = 39  # a list of IVF that faiss asks for at least
MOST_POINTS = 256  # a list, beyond which k-means gains nothing
LINKS, EF_CONSTRUCTION, EF_SEARCH = 32, 200, 128  # of HNSW
PROBED, LEAST_PROBED = 16, 8  # of an IVF's lists, one in 16 is searched, and 8 at least


@dataclass(frozen=True)
class Stored:
    """Vectors (N, H) as encode left them, in one or several memory-mapped arrays."""

    parts: list[NDArray[Any]]  # arrays (n, H), in the order of the rows
    ranges: NDArray[np.float32] | None = None  # (2, H) of int8, else None

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def blocks(self) -> Iterator[Vectors]:
        """All vectors at length 1, some (B, H) at a time."""
        for part in self.parts:
            for start in range(0, len(part), BLOCK):
                yield unit(dequantized(part[start : start + BLOCK], self.ranges))

    def take(self, rows: Ids) -> Vectors:
        """The vectors of ascending rows (R,) at length 1."""
        ends = np.cumsum([len(part) for part in self.parts])
        owners = np.searchsorted(ends, rows, side="right")
        taken = [part[rows[owners == place] - ends[place] + len(part)] for place, part in enumerate(self.parts)]
        return unit(dequantized(np.concatenate(taken), self.ranges))

    def sample(self, count: int) -> Vectors:
        """At most `count` vectors drawn without repetition, always the same ones."""
        draw = np.random.default_rng(0)
        return self.take(np.sort(draw.choice(len(self), size=min(count, len(self)), replace=False)).astype(np.int64))


def lists_for(count: int) -> int:
    """How many lists an IVF of `count` vectors has: 4 sqrt(N), as faiss advises, and enough vectors for each."""
    return max(1, min(int(4 * count**0.5), count // TRAINING_POINTS))


def build(stored: Stored, kind: str) -> Any:
    """A faiss index of the vectors, searched by cosine; row n of the input is id n.

    Args:
        stored: the vectors; float16 and int8 stay as small in the index.
        kind: flat (exact but for the stored type's rounding), hnsw or ivf.
    """
    import faiss

    first = stored.parts[0]
    lists, storage = lists_for(len(stored)), STORAGE[str(first.dtype)]
    recipe = {"flat": storage, "hnsw": f"HNSW{LINKS}_{storage}", "ivf": f"IVF{lists},{storage}"}[kind]
    index: Any = faiss.index_factory(first.shape[1], recipe, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = EF_CONSTRUCTION, EF_SEARCH
    if kind == "ivf":
        index.nprobe = min(lists, max(LEAST_PROBED, lists // PROBED))
        index.cp.min_points_per_centroid = 1  # else faiss warns of few vectors, of which there is one list then
    if not index.is_trained:
        index.train(stored.sample(MOST_POINTS * max(lists, 256)))
    for block in stored.blocks():
        index.add(block)
    return index


def nearest(index: Any, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
    """Cosines (Q, k), descending, and rows (Q, k); -1 where an approximate index found fewer than k.

    Args:
        index: of `build`.
        queries: (Q, H) of length 1.
        k: clipped to N.
    """
    k = min(k, index.ntotal)
    if hasattr(index, "hnsw"):  # with no more than k candidates in the queue, it finds 85 % of 400
        index.hnsw.efSearch = max(EF_SEARCH, 2 * k)
    scores, ids = index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
    return scores, ids.astype(np.int64)


def measure_recall(index: Any, stored: Stored, queries: Vectors, k: int) -> float:
    """The share of the exact k nearest of queries (Q, H) that the index finds too."""
    expected = search_blocks(queries, stored.blocks(), min(k, len(stored)), "cpu")[1]
    return recall(nearest(index, queries, k)[1], expected)


def recall(found: Ids, expected: Ids) -> float:
    """The share of the expected ids (Q, k) that were found (Q, k)."""
    return sum(len(np.intersect1d(*pair)) for pair in zip(found, expected, strict=True)) / expected.size


def approximate(kind: str, query_QH: Vectors, corpus_DH: Vectors, k: int, seed: int) -> Finder:
    """Find the nearest by a faiss index, after printing its recall.

    Args:
        kind: hnsw or ivf.
        query_QH: vectors of the rows' queries, of length 1.
        corpus_DH: vectors to search.
        k: how many will be asked for.
        seed: of the queries on which recall is measured.
    """
    stored = Stored([corpus_DH])
    index = build(stored, kind)
    sample = query_QH[np.random.default_rng(seed).permutation(len(query_QH))[:SAMPLE]]
    k = min(k, len(stored))
    share = measure_recall(index, stored, sample, k)
    console.info(f"--ann {kind}: finds {share:.1%} of the {k} nearest (exact search on {len(sample)} of the queries)")
    return lambda rows, wanted: nearest(index, query_QH[rows], wanted)

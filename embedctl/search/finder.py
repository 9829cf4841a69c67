"""What mining asks for candidates: exact or approximate search in vectors that are held in memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from embedctl import console
from embedctl.search import faiss_index
from embedctl.search.exact import Ids, Vectors, search
from embedctl.search.faiss_index import Stored

# (rows, k) to scores (B, k) and ids (B, k) for a block of B queries; id -1 where fewer than k were found
Finder = Callable[[slice, int], tuple[Vectors, Ids]]
SAMPLE = 200  # queries on which recall is measured


def exact(query_QH: Vectors, corpus_DH: Vectors, device: str = "cpu") -> Finder:
    """Find the nearest by exact search."""
    return lambda rows, k: search(query_QH[rows], corpus_DH, k, device)


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
    index = faiss_index.build(stored, kind)
    sample = query_QH[np.random.default_rng(seed).permutation(len(query_QH))[:SAMPLE]]
    k = min(k, len(stored))
    share = faiss_index.measure_recall(index, stored, sample, k)
    console.say(f"--ann {kind}: finds {share:.1%} of the {k} nearest (exact search on {len(sample)} of the queries)")
    return lambda rows, wanted: faiss_index.nearest(index, query_QH[rows], wanted)

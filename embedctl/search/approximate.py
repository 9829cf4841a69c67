"""Approximate search by faiss, with its recall against exact search measured on a sample of the queries.

HNSW: a graph of near neighbours (Malkov and Yashunin, 2018). IVF: cells around centroids of which a few are searched;
faiss asks for 39 training points a centroid at least.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from embedctl import console
from embedctl.errors import ConfigError
from embedctl.search.exact import Ids, Vectors, search
from embedctl.search.faiss_index import EF_SEARCH, PROBED, lists_for, unfilled
from embedctl.search.finder import Finder

SAMPLE = 200


def build(kind: str, corpus_DH: Vectors, k: int) -> Any:
    """A faiss index of inner products, `hnsw` or `ivf`, set to find k neighbours well.

    Raises:
        ConfigError: faiss is missing.
    """
    rows, width = corpus_DH.shape
    cells = lists_for(rows)
    try:
        index = unfilled(kind, width, cells)
    except ImportError:
        raise ConfigError("--ann needs faiss", "pip install faiss-cpu, or leave --ann out") from None
    if kind == "hnsw":
        index.hnsw.efSearch = max(EF_SEARCH, 2 * k)
    else:
        index.cp.seed = 42
        index.nprobe = max(1, cells // PROBED)
        index.train(corpus_DH)
    index.add(corpus_DH)
    return index


def recall(found: Ids, expected: Ids) -> float:
    """The share of the expected ids (Q, k) that were found (Q, k)."""
    shared = [len(np.intersect1d(own, other)) for own, other in zip(found, expected, strict=True)]
    return sum(shared) / max(1, expected.size)


def approximate(kind: str, query_QH: Vectors, corpus_DH: Vectors, k: int, seed: int) -> Finder:
    """Finds by a faiss index, after saying how much of exact search it finds.

    Args:
        kind: hnsw or ivf.
        query_QH: vectors of the rows' queries.
        corpus_DH: vectors to search.
        k: how many will be asked for.
        seed: of the sample.
    """
    corpus_DH = np.ascontiguousarray(corpus_DH, dtype=np.float32)
    k = min(k, len(corpus_DH))
    index = build(kind, corpus_DH, k)
    sample = np.random.default_rng(seed).permutation(len(query_QH))[:SAMPLE]
    share = recall(index.search(query_QH[sample], k)[1], search(query_QH[sample], corpus_DH, k, "cpu")[1])
    console.say(f"--ann {kind}: finds {share:.1%} of the {k} nearest (exact search on {len(sample)} of the queries)")

    def find(rows: slice, wanted: int) -> tuple[Vectors, Ids]:
        scores, ids = index.search(np.ascontiguousarray(query_QH[rows]), min(wanted, len(corpus_DH)))
        return scores, ids.astype(np.int64)

    return find

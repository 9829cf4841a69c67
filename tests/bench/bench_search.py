"""Measure exact search on a CPU, compared with the matrix product alone. The target is at most 1.5 times its duration.

Usage: python tests/bench/bench_search.py [DOCUMENTS [QUERIES]]

One million vectors of 384 dimensions need 1.5 GB of memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from embedctl.model.similarity import COSINE
from embedctl.search.exact import search_faiss, search_torch

DIMENSIONS, NEIGHBOURS = 384, 100
QUERY_BLOCK = 1024  # queries per search call, as in mining
DOCUMENT_BLOCK = 1 << 15


def unit_vectors(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, DIMENSIONS), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def multiply(queries: np.ndarray, corpus: np.ndarray) -> None:
    """Compute all similarities in blocks of documents; each block overwrites the previous result."""
    left, right = torch.from_numpy(queries), torch.from_numpy(corpus)
    output = torch.empty(len(queries), DOCUMENT_BLOCK)
    for start in range(0, len(corpus), DOCUMENT_BLOCK):
        block = right[start : start + DOCUMENT_BLOCK]
        torch.mm(left, block.T, out=output[:, : len(block)])


def measure(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Return the seconds of calling `search` with all queries, block by block."""
    start_time = time.perf_counter()
    for start in range(0, len(queries), QUERY_BLOCK):
        search(queries[start : start + QUERY_BLOCK])
    return time.perf_counter() - start_time


def main(document_count: int = 1_000_000, query_count: int = 10_000) -> None:
    """Print the duration of the matrix product and of both implementations of exact search."""
    corpus, queries = unit_vectors(document_count, 0), unit_vectors(query_count, 1)
    multiply(queries[:64], corpus)
    product_seconds = measure(lambda block: multiply(block, corpus), queries)
    print(f"{document_count:,} x {DIMENSIONS}, {query_count:,} queries, {torch.get_num_threads()} threads")
    print(f"matrix product: {product_seconds:.1f} s")
    searches = {
        "faiss": lambda block: search_faiss(block, corpus, NEIGHBOURS),
        "torch": lambda block: search_torch(block, corpus, NEIGHBOURS, "cpu", COSINE),
    }
    for name, search in searches.items():
        seconds = measure(search, queries)
        print(f"{name}: {seconds:.1f} s, {seconds / product_seconds:.2f} times the matrix product", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

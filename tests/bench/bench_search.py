"""How long exact search on a CPU takes against the bare matrix product in blocks. The bar of the project is 1.5 times.

Run by hand: python tests/bench/bench_search.py [DOCUMENTS [QUERIES]]. 1M x 384 vectors take 1.5 GB.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from embedctl.search.exact import search_faiss, search_torch

WIDTH, NEAREST = 384, 100
BLOCK = 1024  # queries at a time, as mining asks
DOCUMENTS = 1 << 15


def unit_vectors(rows: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, WIDTH), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def product(queries: np.ndarray, corpus: np.ndarray) -> None:
    """The similarities, a block at a time, each overwriting the last."""
    left, right = torch.from_numpy(queries), torch.from_numpy(corpus)
    output = torch.empty(len(queries), DOCUMENTS)
    for start in range(0, len(corpus), DOCUMENTS):
        piece = right[start : start + DOCUMENTS]
        torch.mm(left, piece.T, out=output[:, : len(piece)])


def seconds(work: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    begun = time.perf_counter()
    for start in range(0, len(queries), BLOCK):
        work(queries[start : start + BLOCK])
    return time.perf_counter() - begun


def main(documents: int = 1_000_000, asked: int = 10_000) -> None:
    corpus, queries = unit_vectors(documents, 0), unit_vectors(asked, 1)
    product(queries[:64], corpus)
    bare = seconds(lambda block: product(block, corpus), queries)
    print(f"{documents:,} x {WIDTH}, {asked:,} queries, {torch.get_num_threads()} threads: product {bare:.1f} s")
    ways = {
        "faiss": lambda block: search_faiss(block, corpus, NEAREST),
        "torch": lambda block: search_torch(block, corpus, NEAREST, "cpu"),
    }
    for name, way in ways.items():
        took = seconds(way, queries)
        print(f"{name}: {took:.1f} s, {took / bare:.2f} times the product", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

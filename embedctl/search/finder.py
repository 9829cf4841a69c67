"""What mining asks for candidates: `(rows, k)` to scores (B, k) and ids (B, k) of a block of B queries, -1 for none."""

from __future__ import annotations

from collections.abc import Callable

from embedctl.search.exact import Ids, Vectors, search

Finder = Callable[[slice, int], tuple[Vectors, Ids]]


def exact(query_QH: Vectors, corpus_DH: Vectors, device: str = "cpu") -> Finder:
    """Find the nearest by exact search."""
    return lambda rows, k: search(query_QH[rows], corpus_DH, k, device)

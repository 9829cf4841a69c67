"""Approximate search: what it finds, and that the recall which is printed is that of plain counting."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.search.exact import search
from embedctl.search.finder import approximate


def vectors(rows: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("rows", [5, 2000])
def test_it_finds_most_and_says_how_much(kind, rows, capsys):
    queries, corpus = vectors(50, 1), vectors(rows, 2)
    find = approximate(kind, queries, corpus, 10, seed=0)
    said = capsys.readouterr().err
    scores, ids = find(slice(0, 50), 10)
    expected = search(queries, corpus, 10, "cpu")[1]
    counted = np.mean([len(set(own) & set(other)) / len(other) for own, other in zip(ids, expected, strict=True)])
    assert f"finds {counted:.1%} of the {min(10, rows)} nearest" in said
    assert counted > 0.3
    there = ids >= 0
    np.testing.assert_allclose(scores[there], (queries @ corpus.T)[np.nonzero(there)[0], ids[there]], atol=1e-5)

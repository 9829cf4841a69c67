"""Exact search: each backend compared with sorting and with the other backend, ties, and limits of k."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedctl.errors import ModelError
from embedctl.model.similarity import DOT
from embedctl.search import exact
from embedctl.search.exact import TopK, search, search_faiss, search_torch

BACKENDS = {"faiss": search_faiss, "torch": lambda queries, corpus, k: search_torch(queries, corpus, k, "cpu", DOT)}


def integer_vectors(seed: int, rows: int, width: int, highest: int) -> np.ndarray:
    """Return vectors of small integers, whose products are exact and often equal."""
    return np.random.default_rng(seed).integers(0, highest + 1, (rows, width)).astype(np.float32)


def search_by_sorting(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ corpus.T
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, ids, axis=1), ids


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_SCORES", 64)
    monkeypatch.setattr(exact, "BLOCK_DOCUMENTS", {"cpu": 17})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("highest", [0, 1, 3, 1000])
@pytest.mark.parametrize("k", [1, 7, 50, 100])
def test_each_backend_is_equal_to_a_stable_sort(small_blocks, backend, highest, k):
    queries, corpus = integer_vectors(1, 9, 6, highest), integer_vectors(2, 100, 6, highest)
    scores, ids = BACKENDS[backend](queries, corpus, k)
    expected_scores, expected_ids = search_by_sorting(queries, corpus, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)


def test_backends_agree_on_random_vectors(small_blocks):
    rng = np.random.default_rng(5)
    queries, corpus = rng.standard_normal((20, 32), np.float32), rng.standard_normal((300, 32), np.float32)
    scores, ids = search_faiss(queries, corpus, 40)
    other_scores, other_ids = search_torch(queries, corpus, 40, "cpu", DOT)
    np.testing.assert_array_equal(ids, other_ids)
    np.testing.assert_allclose(scores, other_scores, atol=1e-4)


def test_documents_with_negative_scores_are_found():
    queries, corpus = (
        -np.ones((2, 3), np.float32),
        np.ones((5, 3), np.float32) * np.arange(1, 6, dtype=np.float32)[:, None],
    )
    for backend in BACKENDS.values():
        assert backend(queries, corpus, 2)[1].tolist() == [[0, 1], [0, 1]]


def test_k_is_limited_to_the_number_of_documents():
    corpus = integer_vectors(0, 4, 3, 5)
    scores, ids = search(integer_vectors(1, 2, 3, 5), corpus, 10, similarity=DOT)
    assert scores.shape == ids.shape == (2, 4)
    assert [sorted(row) for row in ids.tolist()] == [[0, 1, 2, 3]] * 2


def test_an_empty_corpus_and_no_queries():
    vectors, none = np.ones((3, 2), np.float32), np.ones((0, 2), np.float32)
    assert search(vectors, none, 5, similarity=DOT)[1].shape == (3, 0)
    assert search(none, vectors, 2, similarity=DOT)[1].shape == (0, 2)


@pytest.mark.parametrize("invalid", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_an_error(invalid):
    good, bad = np.ones((4, 2), np.float32), np.ones((4, 2), np.float32)
    bad[2, 1] = invalid
    with pytest.raises(ModelError, match=r"the embedding of document 2 .* contains NaN or infinity"):
        search(good, bad, 1, similarity=DOT)
    with pytest.raises(ModelError, match=r"the embedding of query 2 .* contains NaN or infinity"):
        search(bad, good, 1, similarity=DOT)


def test_other_types_and_strides_are_accepted():
    corpus = integer_vectors(0, 20, 8, 9)
    expected = search(corpus[:3, ::2].copy(), corpus[:, ::2].copy(), 4, similarity=DOT)
    found = search(corpus[:3, ::2].astype(np.float16), corpus[:, ::2], 4, similarity=DOT)
    np.testing.assert_array_equal(found[1], expected[1])


def top_k(*blocks: list[list[float]], k: int) -> tuple[list[list[float]], list[list[int]]]:
    found, first_id = TopK(len(blocks[0]), k, "cpu"), 0
    for block in blocks:
        found.add(slice(0, len(block)), torch.tensor(block, dtype=torch.float32), first_id)
        first_id += len(block[0])
    return found.scores_Qk.tolist(), found.ids_Qk.tolist()


def test_top_k_of_a_row_with_equal_scores():
    scores, ids = top_k([[1.0, 3, 2, 3, 2, 2], [0, 0, 0, 0, 0, 0]], k=3)
    assert scores == [[3, 3, 2], [0, 0, 0]]
    assert ids == [[1, 3, 2], [0, 1, 2]]


def test_top_k_of_blocks_keeps_the_lower_id_of_equal_scores():
    scores, ids = top_k([[2.0], [0]], [[1, 3, 2], [0, 0, 0]], [[3, 3], [-1, 0]], k=3)
    assert scores == [[3, 3, 3], [0, 0, 0]]
    assert ids == [[2, 4, 5], [0, 1, 2]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_returns_the_same_ids_as_a_cpu():
    queries, corpus = integer_vectors(1, 30, 16, 7), integer_vectors(2, 5000, 16, 7)
    on_gpu, on_cpu = (search(queries, corpus, 100, device, similarity=DOT)[1] for device in ("cuda", "cpu"))
    np.testing.assert_array_equal(on_gpu, on_cpu)

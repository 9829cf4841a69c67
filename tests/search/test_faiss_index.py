"""faiss indexes of each kind and stored type, compared with exact search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embedctl.model.similarity import COSINE, normalize
from embedctl.search import faiss_index
from embedctl.search.exact import exact_searcher, search
from embedctl.search.faiss_index import (
    StoredVectors,
    approximate_searcher,
    build_index,
    ivf_list_count,
    measure_recall,
    recall,
    search_index,
)
from embedctl.storage.quantization import Quantizer, dequantize

VECTORS = np.random.default_rng(0).standard_normal((900, 24)).astype(np.float32)
CLUSTERED = np.repeat(VECTORS[:30], 30, axis=0) + 0.1 * VECTORS
QUERIES = normalize(VECTORS[::60] + 0.05)
KINDS = ["flat", "hnsw", "ivf"]


def stored(dtype: str = "float32", vectors: np.ndarray = VECTORS) -> StoredVectors:
    """Return vectors in three parts, like the vectors of three shards."""
    quantizer = Quantizer(dtype)
    numbers = quantizer(vectors)
    return StoredVectors([numbers[:500], numbers[500:501], numbers[501:]], quantizer.ranges, similarity=COSINE)


def recall_of(index: Any, parts: StoredVectors) -> float:
    return measure_recall(index, parts, parts.sample(100), 10)


@pytest.mark.parametrize("block", [7, 1 << 16])
def test_a_flat_index_is_exact(block, monkeypatch, tmp_path):
    import faiss

    monkeypatch.setattr(faiss_index, "BLOCK", block)
    faiss.write_index(build_index(stored(), "flat"), str(tmp_path / "x.faiss"))
    scores, rows = search_index(faiss.read_index(str(tmp_path / "x.faiss")), QUERIES, 12, COSINE)
    expected_scores, expected_rows = search(QUERIES, normalize(VECTORS), 12, device="cpu", similarity=COSINE)
    assert (rows == expected_rows).all()
    assert np.abs(scores - expected_scores).max() < 1e-6


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("int8", 0.02)])
def test_smaller_types_are_close_to_float32(dtype, error):
    found, rows = search_index(build_index(stored(dtype), "flat"), QUERIES, 12, COSINE)
    exact = np.take_along_axis(QUERIES @ normalize(VECTORS).T, rows, axis=1)
    assert np.abs(found - exact).max() < error
    assert recall_of(build_index(stored(dtype), "flat"), stored()) > 0.9


def test_dequantized_int8_is_within_half_a_step():
    quantizer = Quantizer("int8")
    numbers = quantizer(VECTORS)
    steps = (quantizer.ranges[1] - quantizer.ranges[0]) / 255
    inside = numbers < 127  # the maximum of a dimension is at the edge of its step, not inside it
    assert (np.abs(dequantize(numbers, quantizer.ranges) - VECTORS) <= 0.501 * steps)[inside].all()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize(("dtype", "min_recall"), [("float32", 0.95), ("float16", 0.95), ("int8", 0.75)])
def test_approximate_indexes_of_clustered_vectors_have_a_high_recall(kind, dtype, min_recall):
    parts = stored(dtype, CLUSTERED)
    assert recall_of(build_index(parts, kind), parts) > min_recall


def test_measured_recall_is_equal_to_a_count_per_query():
    """An IVF search that visits one list has a low recall, which is counted here query by query."""
    parts = stored()
    index = build_index(parts, "ivf")
    index.nprobe = 1
    sample = parts.sample(100)
    _, found = search_index(index, sample, 10, COSINE)
    exact = np.argsort(-(sample @ normalize(VECTORS).T), axis=1)[:, :10]
    counted = np.mean([len(set(ids) & set(exact_ids)) / 10 for ids, exact_ids in zip(found, exact, strict=True)])
    assert 0.1 < counted < 0.9
    assert recall_of(index, parts) == pytest.approx(counted)


def test_recall_does_not_depend_on_the_order():
    assert recall(np.array([[1, 2, -1], [4, 5, 6]]), np.array([[2, 3, 1], [6, 5, 4]])) == pytest.approx(5 / 6)


def test_hnsw_has_a_high_recall_for_a_large_k():
    """efSearch grows with k: 128, which is enough for k = 10, would give a recall below 0.9 for k = 400."""
    draw = np.random.default_rng(3)
    centers, queries = draw.standard_normal((2, 300, 64), np.float32)
    vectors = np.repeat(centers, 10, axis=0) + 0.5 * draw.standard_normal((3000, 64), np.float32)
    parts = StoredVectors([vectors], similarity=COSINE)
    assert measure_recall(build_index(parts, "hnsw"), parts, normalize(queries), 400) > 0.97


def test_all_lists_are_searched_if_there_are_few():
    """1/16 of the lists would be one list, without the neighbours on the other side of its border."""
    parts = StoredVectors([VECTORS[:300]], similarity=COSINE)
    assert recall_of(build_index(parts, "ivf"), parts) == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5, 60])
def test_an_index_of_few_vectors_finds_each_vector_without_a_warning(kind, count, capfd):
    few = StoredVectors([VECTORS[:count]], similarity=COSINE)
    _, rows = search_index(build_index(few, kind), normalize(VECTORS[:count]), 100, COSINE)
    assert rows.shape == (count, count)
    assert (rows[:, 0] == np.arange(count)).all()
    assert capfd.readouterr().err == ""


def test_ivf_lists_have_enough_vectors():
    assert [ivf_list_count(count) for count in (1, 39, 100, 1_000_000)] == [1, 1, 2, 4000]
    assert all(ivf_list_count(count) * faiss_index.MIN_POINTS_PER_LIST <= max(count, 39) for count in range(1, 3000, 7))


def test_rows_are_taken_from_several_parts():
    rows = np.array([0, 499, 500, 501, 899])
    assert np.abs(stored().take(rows) - normalize(VECTORS[rows])).max() < 1e-6
    assert len(stored().sample(10_000)) == len(VECTORS)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("rows", [5, 2000])
def test_an_approximate_searcher_prints_its_recall(kind, rows, capsys):
    queries = normalize(np.random.default_rng(1).standard_normal((50, 16)))
    corpus = normalize(np.random.default_rng(2).standard_normal((rows, 16)))
    exact = exact_searcher(queries, corpus, similarity=COSINE)
    search_rows = approximate_searcher(kind, queries, corpus, 10, 0, exact, COSINE)
    printed = capsys.readouterr().err
    scores, ids = search_rows(np.arange(50), 10)
    expected = search(queries, corpus, 10, "cpu", similarity=COSINE)[1]
    counted = np.mean([len(set(found) & set(exact)) / len(exact) for found, exact in zip(ids, expected, strict=True)])
    assert f"recall@{min(10, rows)} is {counted:.1%}" in printed
    assert counted > 0.3
    found = ids >= 0
    np.testing.assert_allclose(scores[found], (queries @ corpus.T)[np.nonzero(found)[0], ids[found]], atol=1e-5)

"""A faiss index against the exact search of exact.py, in every kind and stored type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embedctl.search import faiss_index
from embedctl.search.exact import search
from embedctl.search.faiss_index import Stored, approximate, build, lists_for, measure_recall, nearest, recall
from embedctl.search.vectors import unit
from embedctl.storage.quantization import Quantizer, dequantized

DRAWN = np.random.default_rng(0).standard_normal((900, 24)).astype(np.float32)
CLUSTERED = np.repeat(DRAWN[:30], 30, axis=0) + 0.1 * DRAWN
QUERIES = unit(DRAWN[::60] + 0.05)
KINDS = ["flat", "hnsw", "ivf"]


def stored(dtype: str = "float32", vectors: np.ndarray = DRAWN) -> Stored:
    """Vectors in three parts, as shards are."""
    quantizer = Quantizer(dtype)
    numbers = quantizer(vectors)
    return Stored([numbers[:500], numbers[500:501], numbers[501:]], quantizer.ranges)


def recall_of(index: Any, parts: Stored) -> float:
    return measure_recall(index, parts, parts.sample(100), 10)


@pytest.mark.parametrize("block", [7, 1 << 16])
def test_flat_is_exact_by_cosine(block, monkeypatch, tmp_path):
    import faiss

    monkeypatch.setattr(faiss_index, "BLOCK", block)
    faiss.write_index(build(stored(), "flat"), str(tmp_path / "x.faiss"))
    scores, rows = nearest(faiss.read_index(str(tmp_path / "x.faiss")), QUERIES, 12)
    expected_scores, expected_rows = search(QUERIES, unit(DRAWN), 12, device="cpu")
    assert (rows == expected_rows).all()
    assert np.abs(scores - expected_scores).max() < 1e-6


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("int8", 0.02)])
def test_small_types_stay_near(dtype, error):
    found, rows = nearest(build(stored(dtype), "flat"), QUERIES, 12)
    exact = np.take_along_axis(QUERIES @ unit(DRAWN).T, rows, axis=1)
    assert np.abs(found - exact).max() < error
    assert recall_of(build(stored(dtype), "flat"), stored()) > 0.9


def test_int8_comes_back_within_half_a_step():
    quantizer = Quantizer("int8")
    numbers = quantizer(DRAWN)
    steps = (quantizer.ranges[1] - quantizer.ranges[0]) / 255
    inside = numbers < 127  # the greatest value of a dimension stands at the edge of a step, not within it
    assert (np.abs(dequantized(numbers, quantizer.ranges) - DRAWN) <= 0.501 * steps)[inside].all()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.95), ("float16", 0.95), ("int8", 0.75)])
def test_fast_kinds_find_most_of_clusters(kind, dtype, least):
    parts = stored(dtype, CLUSTERED)
    assert recall_of(build(parts, kind), parts) > least


def test_recall_is_what_a_count_says():
    """An IVF that searches one list of its own finds what is in it; counted here one query at a time."""
    parts = stored()
    index = build(parts, "ivf")
    index.nprobe = 1
    sample = parts.sample(100)
    _, found = nearest(index, sample, 10)
    exact = np.argsort(-(sample @ unit(DRAWN).T), axis=1)[:, :10]
    counted = np.mean([len(set(ours) & set(theirs)) / 10 for ours, theirs in zip(found, exact, strict=True)])
    assert 0.1 < counted < 0.9
    assert recall_of(index, parts) == pytest.approx(counted)


def test_recall_counts_what_is_shared_in_any_order():
    assert recall(np.array([[1, 2, -1], [4, 5, 6]]), np.array([[2, 3, 1], [6, 5, 4]])) == pytest.approx(5 / 6)


def test_hnsw_finds_most_of_many_neighbours_too():
    """Its queue of candidates grows with k: the 128 that do for 10 neighbours find fewer than 9 of 10 of 400."""
    draw = np.random.default_rng(3)
    centers, queries = draw.standard_normal((2, 300, 64), np.float32)
    parts = Stored([np.repeat(centers, 10, axis=0) + 0.5 * draw.standard_normal((3000, 64), np.float32)])
    assert measure_recall(build(parts, "hnsw"), parts, unit(queries), 400) > 0.97


def test_a_few_lists_are_all_searched():
    """One in 16 of them would be one, and miss most of what is near the border of another."""
    parts = Stored([DRAWN[:300]])
    assert recall_of(build(parts, "ivf"), parts) == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5, 60])
def test_a_few_vectors_are_enough(kind, count, capfd):
    few = Stored([DRAWN[:count]])
    _, rows = nearest(build(few, kind), unit(DRAWN[:count]), 100)
    assert rows.shape == (count, count)
    assert (rows[:, 0] == np.arange(count)).all()
    assert capfd.readouterr().err == ""


def test_lists_have_enough_vectors():
    assert [lists_for(count) for count in (1, 39, 100, 1_000_000)] == [1, 1, 2, 4000]
    assert all(lists_for(count) * faiss_index.TRAINING_POINTS <= max(count, 39) for count in range(1, 3000, 7))


def test_a_sample_takes_its_rows_from_their_parts():
    rows = np.array([0, 499, 500, 501, 899])
    assert np.abs(stored().take(rows) - unit(DRAWN[rows])).max() < 1e-6
    assert len(stored().sample(10_000)) == len(DRAWN)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("rows", [5, 2000])
def test_it_finds_most_and_says_how_much(kind, rows, capsys):
    queries = unit(np.random.default_rng(1).standard_normal((50, 16)))
    corpus = unit(np.random.default_rng(2).standard_normal((rows, 16)))
    find = approximate(kind, queries, corpus, 10, seed=0)
    said = capsys.readouterr().err
    scores, ids = find(slice(0, 50), 10)
    expected = search(queries, corpus, 10, "cpu")[1]
    counted = np.mean([len(set(own) & set(other)) / len(other) for own, other in zip(ids, expected, strict=True)])
    assert f"finds {counted:.1%} of the {min(10, rows)} nearest" in said
    assert counted > 0.3
    there = ids >= 0
    np.testing.assert_allclose(scores[there], (queries @ corpus.T)[np.nonzero(there)[0], ids[there]], atol=1e-5)

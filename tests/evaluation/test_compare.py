"""Two systems over the same queries: counts, the bootstrap interval beside its normal approximation, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.evaluation import compare as module
from embedctl.evaluation.compare import compare


def values(numbers) -> dict[str, float]:
    return {f"q{place}": float(number) for place, number in enumerate(numbers)}


def test_counts_and_difference():
    found = compare(values([1, 0.5, 0, 0.25]), values([0.5, 0.5, 0.25, 0]))
    assert (found.won, found.lost, found.tied) == (2, 1, 1)
    assert found.difference == pytest.approx(0.125)
    assert found.low <= found.difference <= found.high


def test_queries_are_paired_by_id_not_by_place():
    first = {"a": 1.0, "b": 0.0}
    assert compare(first, {"b": 0.0, "a": 1.0}).tied == 2


def test_the_interval_is_near_that_of_the_normal_distribution():
    draw = np.random.default_rng(3)
    differences = draw.normal(0.05, 0.2, 400)
    found = compare(values(differences), values(np.zeros(400)))
    half = 1.96 * differences.std() / np.sqrt(400)
    assert found.low == pytest.approx(differences.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(differences.mean() + half, abs=0.1 * half)


def test_a_constant_difference_leaves_no_doubt():
    found = compare(values([0.5] * 8), values([0.25] * 8))
    assert (found.low, found.difference, found.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ([1] * 9, [0] * 9, "better"),
        ([0] * 9, [1] * 9, "worse"),
        ([1, 0] * 9, [0, 1] * 9, "no clear difference"),
        ([1] * 3, [1] * 3, "no clear difference"),
    ],
)
def test_the_verdict(first, second, verdict):
    assert compare(values(first), values(second)).verdict == verdict


def test_the_same_seed_gives_the_same_interval():
    draw = np.random.default_rng(0)
    first, second = values(draw.random(30)), values(draw.random(30))
    assert compare(first, second) == compare(first, second)
    assert compare(first, second, seed=1).low != compare(first, second).low


def test_memory_is_bounded_by_blocks_and_all_resamples_are_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "CELLS", 1000)
    percentile = np.percentile
    monkeypatch.setattr(
        np, "percentile", lambda resampled, ends: drawn.append(len(resampled)) or percentile(resampled, ends)
    )
    compare(values(range(30)), values([0] * 30))
    assert drawn == [module.RESAMPLES]

"""Comparison of two models: counts, the bootstrap interval against its normal approximation, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.evaluation import compare as compare_module
from embedctl.evaluation.compare import compare


def values(numbers) -> dict[str, float]:
    return {f"q{index}": float(number) for index, number in enumerate(numbers)}


def test_counts_and_difference():
    comparison = compare(values([1, 0.5, 0, 0.25]), values([0.5, 0.5, 0.25, 0]))
    assert (comparison.better, comparison.worse, comparison.equal) == (2, 1, 1)
    assert comparison.difference == pytest.approx(0.125)
    assert comparison.low <= comparison.difference <= comparison.high


def test_queries_are_paired_by_id_and_not_by_order():
    first = {"a": 1.0, "b": 0.0}
    assert compare(first, {"b": 0.0, "a": 1.0}).equal == 2


def test_the_interval_is_close_to_the_normal_approximation():
    generator = np.random.default_rng(3)
    differences = generator.normal(0.05, 0.2, 400)
    comparison = compare(values(differences), values(np.zeros(400)))
    half = 1.96 * differences.std() / np.sqrt(400)
    assert comparison.low == pytest.approx(differences.mean() - half, abs=0.1 * half)
    assert comparison.high == pytest.approx(differences.mean() + half, abs=0.1 * half)


def test_the_interval_of_a_constant_difference_has_length_0():
    comparison = compare(values([0.5] * 8), values([0.25] * 8))
    assert (comparison.low, comparison.difference, comparison.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ([1] * 9, [0] * 9, "better"),
        ([0] * 9, [1] * 9, "worse"),
        ([1, 0] * 9, [0, 1] * 9, "no clear difference"),
        ([1] * 3, [1] * 3, "no clear difference"),
    ],
)
def test_the_verdict_depends_on_whether_the_interval_contains_0(first, second, verdict):
    assert compare(values(first), values(second)).verdict == verdict


def test_the_same_seed_gives_the_same_interval():
    generator = np.random.default_rng(0)
    first, second = values(generator.random(30)), values(generator.random(30))
    assert compare(first, second) == compare(first, second)
    assert compare(first, second, seed=1).low != compare(first, second).low


def test_resamples_are_drawn_in_blocks_of_limited_size(monkeypatch):
    counts = []
    monkeypatch.setattr(compare_module, "MAX_BLOCK_VALUES", 1000)
    percentile = np.percentile
    monkeypatch.setattr(
        np, "percentile", lambda resampled, ends: counts.append(len(resampled)) or percentile(resampled, ends)
    )
    compare(values(range(30)), values([0] * 30))
    assert counts == [compare_module.RESAMPLES]

"""Counts of scores, compared with numpy, and histograms of several groups."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from embedctl.reports.charts import CELL_WIDTH, MAX_BINS, ScoreCounts, bin_edges, draw_histograms


def count(scores: np.ndarray) -> ScoreCounts:
    found = ScoreCounts()
    for part in np.array_split(scores, 7):
        found.add(part)
    return found


@pytest.mark.parametrize(("centre", "spread"), [(0.7, 0.1), (-4.0, 3.0), (0.5, 0.0)])
def test_histograms_and_medians_are_those_of_numpy(centre, spread):
    rng = np.random.default_rng(0)
    groups = {name: rng.normal(centre + shift, spread, 500) for name, shift in (("positives", 0.1), ("kept", 0.0))}
    found = {name: count(scores) for name, scores in groups.items()}
    edges = bin_edges(found)
    assert 2 <= len(edges) <= MAX_BINS + 1
    for name, scores in groups.items():
        expected = np.histogram(scores, edges * CELL_WIDTH)[0]
        assert found[name].histogram(edges).tolist() == expected.tolist()
        assert expected.sum() == len(found[name]) == 500
        assert found[name].median == pytest.approx(np.median(scores), abs=CELL_WIDTH)


def test_histograms_contain_the_nonempty_groups_and_are_reproducible():
    groups = {"positives": count(np.array([0.9, 0.8])), "kept": ScoreCounts(), "rejected": count(np.array([12.5]))}
    data = draw_histograms(groups, "score")
    assert data == draw_histograms(groups, "score")
    svg = base64.b64decode(data.removeprefix("data:image/svg+xml;base64,")).decode()
    assert "<!-- positives: 2, median 0.8" in svg
    assert "<!-- rejected: 1, median 12.50 -->" in svg
    assert "kept" not in svg
    assert draw_histograms({"kept": ScoreCounts()}, "score") == ""

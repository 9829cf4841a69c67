"""Scores are counted as numpy counts them, whatever their range, and drawn over one axis."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from embedctl.reports.charts import BINS, CELL, Scores, common_edges, picture


def counted(scores: np.ndarray) -> Scores:
    found = Scores()
    for part in np.array_split(scores, 7):
        found.add(part)
    return found


@pytest.mark.parametrize(("centre", "spread"), [(0.7, 0.1), (-4.0, 3.0), (0.5, 0.0)])
def test_no_score_is_lost_or_moved(centre, spread):
    draw = np.random.default_rng(0)
    groups = {name: draw.normal(centre + shift, spread, 500) for name, shift in (("positives", 0.1), ("kept", 0.0))}
    found = {name: counted(scores) for name, scores in groups.items()}
    edges = common_edges(found)
    assert 2 <= len(edges) <= BINS + 1
    for name, scores in groups.items():
        expected = np.histogram(scores, edges * CELL)[0]
        assert found[name].histogram(edges).tolist() == expected.tolist()
        assert expected.sum() == len(found[name]) == 500
        assert found[name].median == pytest.approx(np.median(scores), abs=CELL)


def test_a_picture_holds_its_groups_and_is_the_same_each_time():
    groups = {"positives": counted(np.array([0.9, 0.8])), "kept": Scores(), "rejected": counted(np.array([12.5]))}
    data = picture(groups, "score")
    assert data == picture(groups, "score")
    svg = base64.b64decode(data.removeprefix("data:image/svg+xml;base64,")).decode()
    assert "<!-- positives: 2, median 0.8" in svg
    assert "<!-- rejected: 1, median 12.50 -->" in svg
    assert "kept" not in svg
    assert picture({"kept": Scores()}, "score") == ""

"""The page: whole, escaped, counted on both scales, suspicious rows first."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from embedctl.mining.candidates import Candidates, Mined
from embedctl.mining.report import Report, Texts


def mined(row: int, score: float, *, judge: bool) -> Mined:
    """One text of three is taken, one is outside the limits, one is filled in although it is."""
    similarities = np.array([score, 0.9, 0.3], np.float32)
    excess = np.array([-np.inf, 0.1, 0.2], np.float32)
    judged = np.array([10 * score, 9.0, np.nan], np.float32) if judge else similarities * np.nan
    found = Candidates(row, np.array([0, 1, 2]), similarities, excess, judged, Counter(), 3)
    taken = np.array([0, 2])
    scores = np.array([10 * score, -3.0], np.float32) if judge else similarities[taken]
    return Mined(taken, scores, similarities[taken], 1, 5.0 if judge else 0.5, found)


@pytest.mark.parametrize("judge", [False, True])
def test_rows_that_look_like_answers_come_first_and_everything_is_counted(judge):
    report = Report(0)
    for row in range(100):
        positives = Texts(["a & b"], np.array([0.5]), np.array([5.0]) if judge else None)
        score = 0.8 if row == 77 else row / 300
        report.add(mined(row, score, judge=judge), f"q<{row}>", positives, ["<script>", "filled"])
    shown = report.samples()
    assert len(shown) == 20
    assert [one.row for one in shown[:3]] == [78, 100, 99]
    counts = {scale: {name: len(scores) for name, scores in groups.items()} for scale, groups in report.scales.items()}
    expected = {"positives": 100, "kept": 200, "rejected": 100}
    assert counts == {"model": expected, "judge": expected if judge else dict.fromkeys(expected, 0)}
    page = report.html({"rows": "100 <all>"})
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 20
    assert "q&lt;77&gt;" in page
    assert "100 &lt;all&gt;" in page
    assert page.count('class="above"') == 1
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 1 + judge
    assert ("<td>8.000</td><td>0.800</td>" in page) is judge
    assert "http" not in page

"""The page: whole, escaped, counted on both scales, suspicious rows first."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.candidates import Candidates, Mined
from embedctl.mining.pool import Scorer, gather
from embedctl.mining.report import SCALES, Report


def mined(row: int, score: float, *, reranked: bool) -> Mined:
    """One text of three is taken, one is outside the limits, one is filled in although it is."""
    similarities = np.array([score, 0.9, 0.3], np.float32)
    excess = np.array([-np.inf, 0.1, 0.2], np.float32)
    scores = np.array([10 * score, 9.0, np.nan], np.float32) if reranked else similarities * np.nan
    reference = 5.0 if reranked else 0.5
    found = Candidates(row, np.array([0, 1, 2]), similarities, scores, excess, reference, Counter(), 3)
    negatives = found.take(np.array([0, 2]))
    if reranked:
        negatives.rerank_scores[1] = -3.0
    return Mined(negatives, found, 1, nearer=False)


def scorer(score: float) -> Scorer:
    """Gives all texts one score."""
    return lambda _rows, ids: [np.full(len(own), score) for own in ids]


@pytest.mark.parametrize("reranked", [False, True])
def test_rows_that_look_like_answers_come_first_and_everything_is_counted(reranked):
    rows = [Row(f"q<{row}>", ("a & b",)) for row in range(100)]
    scorers = ({"rerank_scores": scorer(5.0)} if reranked else {}) | {"similarities": scorer(0.5)}
    report = Report(gather(rows, ["<script>", "outside", "filled"], keep_negatives=False), scorers, seed=0)
    for row in range(100):
        report.add(mined(row, 0.8 if row == 77 else row / 300, reranked=reranked), ["a & b"])
    shown = report.samples()
    assert len(shown) == 20
    assert [one.row for one in shown[:3]] == [78, 100, 99]
    counts = {scale: {name: len(scores) for name, scores in groups.items()} for scale, groups in report.counts.items()}
    expected = {"positives": 100, "kept": 200, "rejected": 100}
    assert counts == {"similarities": expected, "rerank_scores": expected if reranked else dict.fromkeys(expected, 0)}
    page = report.html({"rows": "100 <all>"})
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 20
    assert "q&lt;77&gt;" in page
    assert "100 &lt;all&gt;" in page
    assert page.count('class="above"') == 1
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 1 + reranked
    assert (SCALES["rerank_scores"] in page) is reranked
    assert ("<td>8.000</td><td>0.800</td>" in page) is reranked
    assert "http" not in page

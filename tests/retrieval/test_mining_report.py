"""The page: whole, escaped, counted, suspicious rows first."""

from __future__ import annotations

from collections import Counter

import numpy as np

from embedctl.retrieval.candidates import Candidates, Mined
from embedctl.retrieval.mining_report import Report


def mined(row: int, score: float) -> Mined:
    scores = np.array([score, 0.9], np.float32)
    excess = np.array([-np.inf, 0.1], np.float32)
    found = Candidates(row, np.array([0, 1]), scores, excess, scores * np.nan, Counter(), 2)
    return Mined(np.array([0]), scores[:1], 0, 0.5, found)


def test_rows_that_look_like_answers_come_first_and_everything_is_counted():
    report = Report(0)
    for row in range(100):
        report.add(mined(row, 0.8 if row == 77 else row / 300), f"q<{row}>", (["a & b"], np.array([0.5])), ["<script>"])
    shown = report.samples()
    assert len(shown) == 20
    assert [one.row for one in shown[:3]] == [78, 100, 99]
    assert {name: int(counts.sum()) for name, counts in report.counts.items()} == dict.fromkeys(report.counts, 100)
    page = report.html({"rows": "100 <all>"})
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 20
    assert "q&lt;77&gt;" in page
    assert "100 &lt;all&gt;" in page
    assert page.count('class="above"') == 1
    assert "http" not in page

"""The HTML report: escaping, score counts on both scales, and the order of the sample rows; the summary's texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.candidates import Candidates, MinedRow, Selection
from embedctl.mining.data import Scorer, collect_data
from embedctl.mining.job import MiningResult
from embedctl.mining.report import AXIS_TITLES, GROUPS, Report, summary


def mined_row(row: int, score: float, *, reranked: bool) -> MinedRow:
    """Return a row with three candidates: one is selected, one is rejected, one is rejected but added by --fill."""
    similarities = np.array([score, 0.9, 0.3], np.float32)
    violation = np.array([-np.inf, 0.1, 0.2], np.float32)
    rerank_scores = np.array([10 * score, 9.0, np.nan], np.float32) if reranked else similarities * np.nan
    reference = 5.0 if reranked else 0.5
    candidates = Candidates(row, np.array([0, 1, 2]), similarities, rerank_scores, violation, reference, Counter(), 3)
    negatives = candidates.take(np.array([0, 2]))
    if reranked:
        negatives.rerank_scores[1] = -3.0
    return MinedRow(negatives, candidates, 1, range_extended=False)


def constant_scorer(score: float) -> Scorer:
    return lambda _rows, ids: [np.full(len(own), score) for own in ids]


@pytest.mark.parametrize("reranked", [False, True])
def test_rows_with_likely_false_negatives_come_first_and_all_rows_are_counted(reranked):
    rows = [Row(f"q<{row}>", ("a & b",)) for row in range(100)]
    scorers = ({"rerank_scores": constant_scorer(5.0)} if reranked else {}) | {"similarities": constant_scorer(0.5)}
    report = Report(collect_data(rows, ["<script>", "outside", "filled"], keep_negatives=False), scorers, seed=0)
    for row in range(100):
        report.add(mined_row(row, 0.8 if row == 77 else row / 300, reranked=reranked), ["a & b"])
    samples = report.samples()
    assert len(samples) == 20
    assert [one.row for one in samples[:3]] == [78, 100, 99]
    counts = {
        column: {name: len(scores) for name, scores in groups.items()} for column, groups in report.counts.items()
    }
    expected = dict(zip(GROUPS, (100, 200, 100), strict=True))
    assert counts == {"similarities": expected, "rerank_scores": expected if reranked else dict.fromkeys(expected, 0)}
    page = report.html({"rows": "100 <all>"})
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 20
    assert "q&lt;77&gt;" in page
    assert "100 &lt;all&gt;" in page
    assert page.count('class="above"') == 1
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == 1 + reranked
    assert (AXIS_TITLES["rerank_scores"] in page) is reranked
    assert ("<td>8.000</td><td>0.800</td>" in page) is reranked
    assert "http" not in page


REJECT = "use --margin 0 without --fill relax to reject such passages"


@pytest.mark.parametrize(
    ("count", "to_check", "filled"),
    [
        (0, None, None),
        (1, f"1 negative scores above its row's positive; {REJECT}", "1 negative"),
        (1200, f"1,200 negatives score above their row's positive; {REJECT}", "1,200 negatives"),
    ],
)
def test_the_summary_uses_singular_and_plural_and_omits_zero_counts(count, to_check, filled):
    selection = Selection(0, 9, 3, "top", 0)
    job = SimpleNamespace(selection=selection, fill="relax", rerank_with=None, output=Path("mined.jsonl"))
    result = MiningResult(rows=2, negatives=6, above_positive=count, filled=count, rejected=Counter({"answers": 4}))
    facts = summary(job, result)
    assert facts["rejected candidates"] == "known positives: 4"
    assert facts.get("possible false negatives") == to_check
    assert facts.get("added by --fill") == filled

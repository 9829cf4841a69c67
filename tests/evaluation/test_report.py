"""The tables of an evaluation, as drawn for a terminal of 80 columns."""

from __future__ import annotations

import pytest

from embedctl import console
from embedctl.evaluation.compare import Comparison, compare
from embedctl.evaluation.report import show_alone, show_beside, verdict


@pytest.fixture
def drawn(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    console.configure()
    yield lambda: capsys.readouterr().err
    console.configure()


def test_one_model(drawn):
    show_alone("out: 2 queries", {"nDCG@10": 0.5, "MAP": 0.25})
    lines = drawn().splitlines()
    assert lines[0] == "out: 2 queries"
    assert [line.split()[1::2] for line in lines if "@" in line or "MAP" in line] == [
        ["nDCG@10", "0.5000"],
        ["MAP", "0.2500"],
    ]


def test_a_model_beside_a_baseline_stands_on_one_line_a_metric(drawn):
    found = {"Recall@100": Comparison(-0.125, -0.25, 0.0, 12, 345, 6)}
    show_beside("out", {"Recall@100": 0.5}, {"Recall@100": 0.625}, found)
    (line,) = [line for line in drawn().splitlines() if "Recall" in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["Recall@100", "0.5000", "0.6250", "-0.1250", "-0.250 to +0.000", "12/345/6"]


def test_the_verdict_is_a_sentence():
    one, none = {"q": 1.0}, {"q": 0.0}
    assert verdict("MAP", compare(one, none)) == "MAP: the model is better than the baseline"
    assert verdict("MAP", compare(none, one)) == "MAP: the model is worse than the baseline"
    assert "chance could explain" in verdict("MAP", compare(one, one))

"""An evaluation called from Python, and its tables as drawn for a terminal of 80 columns."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from embedctl import console
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.compare import Comparison, compare
from embedctl.evaluation.job import EvalJob, evaluate, show_alone, show_beside, verdict
from embedctl.evaluation.metrics import means, measure_embedder
from embedctl.model.embedder import Embedder
from tests.conftest import sentence


@pytest.fixture
def job(tiny_model, tmp_path) -> EvalJob:
    rows = [{"query": sentence(row), "pos": [sentence(100 + row)]} for row in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return EvalJob(
        model=tiny_model,
        baseline=None,
        trust_remote_code=False,
        device="cpu",
        rows=(str(tmp_path / "rows.jsonl"),),
        beir=None,
        source="rows",
        query_prompt="violin ",
        passage_prompt=None,
        dim=16,
    )


def test_a_model_alone(job, tiny_model):
    found = evaluate(job)
    assert (found.queries, found.documents, found.baseline, found.difference) == (8, 8, None, {})
    model = Embedder.from_pretrained(tiny_model, device="cpu")
    expected = measure_embedder(model, Collection.from_rows(job.rows), query_prompt="violin ", dim=16)
    assert found.metrics == means(expected)


def test_a_model_beside_a_baseline(job):
    found = evaluate(replace(job, baseline=job.model))
    assert found.baseline == found.metrics
    assert {one.tied for one in found.difference.values()} == {8}
    assert list(found.difference) == list(found.metrics)


def test_beirs_files(job, tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "alpha"}\n{"_id": "b", "text": "beta"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "alpha gamma"}\n')
    (tmp_path / "qrels.tsv").write_text("q\ta\t1\n")
    corpus, queries, qrels = (str(tmp_path / name) for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    found = evaluate(replace(job, rows=(), beir=(corpus, queries, qrels)))
    assert (found.queries, found.documents) == (1, 2)


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

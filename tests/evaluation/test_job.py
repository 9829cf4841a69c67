"""An evaluation called from Python: a job of plain values in, what was measured out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from embedctl.evaluation.collections import Collection
from embedctl.evaluation.job import EvalJob, evaluate
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

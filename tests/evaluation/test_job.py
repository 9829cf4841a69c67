"""An evaluation job called from Python, and its tables on a terminal with 80 columns."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from embedctl import console
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.compare import Comparison, compare
from embedctl.evaluation.job import EvalJob, Evaluation, evaluate, show_evaluation
from embedctl.evaluation.metrics import evaluate_embedder, means
from embedctl.model.embedder import Embedder
from tests.conftest import SIMILARITIES, save_stating, sentence


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
        allow_missing=False,
        source="rows",
        query_prompt="violin ",
        passage_prompt=None,
        dim=16,
    )


def test_metrics_of_one_model(job, tiny_model):
    result = evaluate(job)
    assert (result.queries, result.documents, result.baseline, result.difference) == (8, 8, None, {})
    model = Embedder.from_pretrained(tiny_model, device="cpu")
    expected = evaluate_embedder(model, Collection.from_rows(job.rows), query_prompt="violin ", dim=16)
    assert result.metrics == means(expected)


@pytest.mark.parametrize("dim", [None, 16])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_documents_are_ranked_by_the_similarity_function_that_the_model_states(job, name, dim, tiny_model, tmp_path):
    folder = save_stating(tiny_model, tmp_path / "model", name)
    result = evaluate(replace(job, model=folder, query_prompt=None, dim=dim))
    collection = Collection.from_rows(job.rows)
    relevant = {query: set(grades) for query, grades in collection.qrels.items()}
    model = SentenceTransformer(folder, device="cpu")
    options = {"truncate_dim": dim, "map_at_k": [1000], "mrr_at_k": [10], "ndcg_at_k": [10]}
    expected = InformationRetrievalEvaluator(collection.queries, collection.corpus, relevant, **options)(model)
    for metric, key in (("nDCG@10", "ndcg@10"), ("MRR@10", "mrr@10"), ("MAP", "map@1000")):
        assert result.metrics[metric] == pytest.approx(expected[f"{name}_{key}"], abs=1e-6)


def test_a_line_names_the_similarity_function_and_orders_differ(job, tiny_model, tmp_path, capsys):
    found = [evaluate(replace(job, model=save_stating(tiny_model, tmp_path / name, name))) for name in SIMILARITIES]
    assert len({result.metrics["MAP"] for result in found}) > 2
    assert "documents are ranked by the model's similarity function, dot\n" in capsys.readouterr().err


def test_comparison_with_a_baseline(job):
    result = evaluate(replace(job, baseline=job.model))
    assert result.baseline == result.metrics
    assert {one.equal for one in result.difference.values()} == {8}
    assert list(result.difference) == list(result.metrics)


def test_a_collection_in_beirs_format(job, tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "alpha"}\n{"_id": "b", "text": "beta"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "alpha gamma"}\n')
    (tmp_path / "qrels.tsv").write_text("q\ta\t1\n")
    corpus, queries, qrels = (str(tmp_path / name) for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"))
    result = evaluate(replace(job, rows=(), beir=(corpus, queries, qrels)))
    assert (result.queries, result.documents) == (1, 2)


@pytest.fixture
def printed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    console.configure()
    yield capsys.readouterr
    console.configure()


def test_the_table_of_one_model(job, printed):
    show_evaluation(replace(job, model="out"), Evaluation(2, 3, {"nDCG@10": 0.5, "MAP": 0.25}, None, {}), "MAP")
    lines = printed().out.splitlines()
    assert lines[0] == "out: 2 queries, 3 documents (rows)"
    assert [line.split()[1::2] for line in lines if "@" in line or "MAP" in line] == [
        ["nDCG@10", "0.5000"],
        ["MAP", "0.2500"],
    ]


def test_the_comparison_has_one_line_per_metric(job, printed):
    comparisons = {"Recall@100": Comparison(-0.125, -0.25, 0.0, 12, 345, 6)}
    show_evaluation(job, Evaluation(363, 9, {"Recall@100": 0.5}, {"Recall@100": 0.625}, comparisons), "Recall@100")
    (line,) = [line for line in printed().out.splitlines() if "│ Recall" in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["Recall@100", "0.5000", "0.6250", "-0.1250", "-0.250 to +0.000", "12/345/6"]


@pytest.mark.parametrize(
    ("model", "baseline", "sentence"),
    [
        (1.0, 0.0, "MAP: the model is better than the baseline"),
        (0.0, 1.0, "MAP: the model is worse than the baseline"),
        (1.0, 1.0, "MAP: no significant difference; the confidence interval of the difference contains 0"),
    ],
)
def test_the_last_line_states_whether_the_model_is_better(job, printed, model, baseline, sentence):
    difference = {"MAP": compare({"q": model}, {"q": baseline})}
    show_evaluation(job, Evaluation(1, 1, {"MAP": model}, {"MAP": baseline}, difference), "MAP")
    assert printed().err.splitlines()[-1] == sentence

"""Tests of `embedctl eval`: selection of the data, output and errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from embedctl import console
from embedctl.commands import evaluate
from embedctl.errors import CheckFailed, ConfigError, DataError, ModelError
from embedctl.evaluation.names import METRICS

ROWS = [
    {"query": "alpha beta", "pos": ["alpha beta gamma"], "neg": ["river stone", "cloud"]},
    {"query": "river", "pos": ["river stone"], "neg": ["violin"]},
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("corpus.jsonl").write_text('{"_id": "a", "text": "alpha"}\n{"_id": "b", "text": "beta"}\n')
    Path("queries.jsonl").write_text('{"_id": "q", "text": "alpha gamma"}\n{"_id": "r", "text": "unjudged"}\n')
    Path("qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    yield tmp_path
    console.configure()


@pytest.fixture
def run(tiny_model, capsys):
    """Return a function that runs eval and returns its JSON object and stderr."""

    def run(ckpt: str | None = tiny_model, **flags: object):
        evaluate.command(model_name_or_path=ckpt, json_output=True, device="cpu", **flags)
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return run


@pytest.fixture
def trained(tiny_model):
    """Return a function that creates a model folder with the given record of its training run."""

    def create(record: str) -> str:
        shutil.copytree(tiny_model, "trained")
        Path("trained/embedctl.json").write_text(record)
        return "trained"

    return create


BEIR = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}


def test_a_file_of_rows_is_evaluated(run, tiny_model):
    summary, err = run(dataset=["rows.jsonl"])
    assert {name: summary[name] for name in ("model", "data", "queries", "documents")} == {
        "model": tiny_model,
        "data": "rows.jsonl",
        "queries": 2,
        "documents": 4,
    }
    assert list(summary["metrics"]) == list(METRICS)
    assert summary["metrics"]["Recall@10"] == 1
    assert "nDCG@10" in err


def test_a_beir_collection(run):
    summary, err = run(**BEIR)
    assert (summary["queries"], summary["documents"]) == (1, 2)
    assert "ignored 1 of 2 queries, because it has no relevant document" in err


def test_the_default_data_are_the_recorded_evaluation_files(run, trained, folder):
    summary, err = run(trained(json.dumps({"eval_dataset": [str(folder / "rows.jsonl")]})))
    assert summary["data"] == str(folder / "rows.jsonl")
    assert "evaluating on the evaluation files of the model's training run" in err


@pytest.mark.parametrize("record", ['{"eval_dataset": []}', "{}"])
def test_without_recorded_files_the_example_collection_is_used(run, trained, record):
    summary, err = run(trained(record))
    assert summary["data"] == "example collection"
    assert "evaluating on the example collection" in err


def test_given_data_override_recorded_data(run, trained):
    summary, _ = run(trained('{"eval_dataset": ["/gone"]}'), dataset=["rows.jsonl"])
    assert summary["data"] == "rows.jsonl"


@pytest.mark.parametrize(
    ("record", "message"),
    [('{"eval_dataset": ["/gone"]}', "^/gone: .* no longer exists"), ("{", "embedctl.json:1: line: not JSON")],
)
def test_a_record_with_missing_files_or_wrong_json_is_an_error(run, trained, record, message):
    with pytest.raises(DataError, match=message) as raised:
        run(trained(record))
    assert "--dataset" in raised.value.hint


def test_a_model_compared_with_itself_is_equal_on_all_queries(run, tiny_model):
    summary, err = run(dataset=["rows.jsonl"], baseline=tiny_model)
    assert summary["baseline"] == {"model": tiny_model, "metrics": summary["metrics"]}
    none = {"difference": 0, "low": 0, "high": 0, "won": 0, "lost": 0, "tied": 2, "verdict": "no clear difference"}
    assert summary["difference"] == dict.fromkeys(METRICS, none)
    assert "nDCG@10: no significant difference" in err


def test_prompts_change_the_metrics(run):
    plain, _ = run()
    prompted, _ = run(query_prompt="violin " * 50, passage_prompt="")
    assert plain["metrics"] != prompted["metrics"]


def test_metrics_of_truncated_embeddings_differ_and_too_many_dimensions_are_an_error(run, tiny_model):
    full, _ = run()
    truncated, _ = run(dim="8")
    assert truncated["metrics"] != full["metrics"]
    with pytest.raises(ConfigError, match="--dim 9999"):
        run(dim="9999")


def test_a_value_below_min_is_an_error_after_the_result_is_printed(tiny_model, capsys):
    flags = {"model_name_or_path": tiny_model, "dataset": ["rows.jsonl"], "metric": "Recall@10", "quiet": True}
    evaluate.command(**flags, min="1.0")
    capsys.readouterr()
    with pytest.raises(CheckFailed, match=r"Recall@10 is 1\.0000, below --min 1\.1") as failed:
        evaluate.command(**flags, min="1.1")
    assert failed.value.exit_code == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [line.split("\t")[0] for line in printed.out.splitlines()] == list(METRICS)
    assert "Recall@10\t1.000000\n" in printed.out


def test_an_unknown_metric_is_an_error_before_the_model_is_loaded():
    with pytest.raises(ConfigError, match="--metric ndcg"):
        evaluate.command(model_name_or_path="/no/such/model", metric="ndcg", min="0.5")


def test_the_default_model_is_the_folder_out(run, tiny_model):
    with pytest.raises(ModelError, match="no --model given, and the folder out contains no model"):
        run(None, dataset=["rows.jsonl"])
    shutil.copytree(tiny_model, "out")
    summary, _ = run(None, dataset=["rows.jsonl"])
    assert summary["model"] == "out"

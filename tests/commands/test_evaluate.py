"""eval from the command line: which data it takes, what it prints, when it fails."""

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
    """Runs eval and gives its JSON document and what it said."""

    def measure(ckpt: str | None = tiny_model, **flags: object):
        evaluate.command(model_name_or_path=ckpt, json_output=True, device="cpu", **flags)
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return measure


@pytest.fixture
def trained(tiny_model):
    """A model folder whose run recorded its evaluation rows."""

    def record(text: str) -> str:
        shutil.copytree(tiny_model, "trained")
        Path("trained/embedctl.json").write_text(text)
        return "trained"

    return record


BEIR = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}


def test_rows(run, tiny_model):
    document, said = run(dataset=["rows.jsonl"])
    assert {name: document[name] for name in ("model", "data", "queries", "documents")} == {
        "model": tiny_model,
        "data": "rows.jsonl",
        "queries": 2,
        "documents": 4,
    }
    assert list(document["metrics"]) == list(METRICS)
    assert document["metrics"]["Recall@10"] == 1
    assert "nDCG@10" in said


def test_a_beir_collection(run):
    document, said = run(**BEIR)
    assert (document["queries"], document["documents"]) == (1, 2)
    assert "1 of 2 queries have no answer: left out" in said


def test_without_data_the_rows_that_the_run_recorded(run, trained, folder):
    document, said = run(trained(json.dumps({"eval_dataset": [str(folder / "rows.jsonl")]})))
    assert document["data"] == str(folder / "rows.jsonl")
    assert "that the run recorded" in said


@pytest.mark.parametrize("record", ['{"eval_dataset": []}', "{}"])
def test_without_data_and_record_the_example_collection(run, trained, record):
    document, said = run(trained(record))
    assert document["data"] == "example collection"
    assert "none recorded: using the example collection" in said


def test_data_given_win_over_data_recorded(run, trained):
    document, _ = run(trained('{"eval_dataset": ["/gone"]}'), dataset=["rows.jsonl"])
    assert document["data"] == "rows.jsonl"


@pytest.mark.parametrize(
    ("record", "message"),
    [('{"eval_dataset": ["/gone"]}', "^/gone: .* no longer there"), ("{", "embedctl.json:1: line: not JSON")],
)
def test_a_record_that_is_of_no_use(run, trained, record, message):
    with pytest.raises(DataError, match=message) as wrong:
        run(trained(record))
    assert "--dataset" in wrong.value.hint


def test_beside_itself_all_is_tied(run, tiny_model):
    document, said = run(dataset=["rows.jsonl"], baseline=tiny_model)
    assert document["baseline"] == {"model": tiny_model, "metrics": document["metrics"]}
    none = {"difference": 0, "low": 0, "high": 0, "won": 0, "lost": 0, "tied": 2, "verdict": "no clear difference"}
    assert document["difference"] == dict.fromkeys(METRICS, none)
    assert "nDCG@10: chance could explain the difference" in said


def test_prompts_reach_the_model(run):
    plain, _ = run()
    prompted, _ = run(query_prompt="violin " * 50, passage_prompt="")
    assert plain["metrics"] != prompted["metrics"]


def test_leading_dimensions(run, tiny_model):
    whole, _ = run()
    short, _ = run(dim="8")
    assert short["metrics"] != whole["metrics"]
    with pytest.raises(ModelError, match="--dim 9999"):
        run(dim="9999")


def test_a_threshold_fails_after_the_result_was_printed(tiny_model, capsys):
    flags = {"model_name_or_path": tiny_model, "dataset": ["rows.jsonl"], "metric": "Recall@10", "quiet": True}
    evaluate.command(**flags, min="1.0")
    capsys.readouterr()
    with pytest.raises(CheckFailed, match=r"Recall@10 1\.0000 is under --min 1\.1") as failed:
        evaluate.command(**flags, min="1.1")
    assert failed.value.exit_code == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [line.split("\t")[0] for line in printed.out.splitlines()] == list(METRICS)
    assert "Recall@10\t1.000000\n" in printed.out


def test_an_unknown_metric_is_refused_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="--metric ndcg"):
        evaluate.command(model_name_or_path="/no/such/model", metric="ndcg")


def test_without_a_checkpoint_the_folder_out(run, tiny_model):
    with pytest.raises(ModelError, match="no model: give --ckpt"):
        run(None, dataset=["rows.jsonl"])
    shutil.copytree(tiny_model, "out")
    document, _ = run(None, dataset=["rows.jsonl"])
    assert document["model"] == "out"

"""Tests of `embedctl validate-data`: exit codes, output, the example files and token counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from embedctl import console
from embedctl.commands import validate_data
from embedctl.config import ValidateConfig, load
from embedctl.errors import CheckFailed, ConfigError, DataError
from embedctl.resources import example_data

GOOD = '{"query": "q", "pos": ["p"], "neg": ["n"]}\n'
BAD = '{"query": "q", "pos": "p"}\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jsonl").write_text(GOOD)
    (tmp_path / "bad.jsonl").write_text(GOOD + BAD * 3)
    yield tmp_path
    console.configure()


def test_a_valid_file(capsys):
    validate_data.command(files=["good.jsonl"], neg_nums="1")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "good.jsonl: ok\n" in printed.err
    assert "1 (hard negatives: 1)" in printed.err


def test_the_command_fails_after_all_files_are_checked(capsys):
    with pytest.raises(CheckFailed, match="3 errors in 2 files") as failed:
        validate_data.command(files=["bad.jsonl", "good.jsonl"], neg_nums="1")
    assert failed.value.exit_code == 1
    printed = capsys.readouterr()
    assert "bad.jsonl: 3 errors\n" in printed.err
    assert "good.jsonl: ok\n" in printed.err


def test_findings_go_to_stdout_with_quiet_too(capsys):
    with pytest.raises(CheckFailed):
        validate_data.command(files=["bad.jsonl"], max_errors="2", quiet=True)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines() == [
        "bad.jsonl:2: pos: the value must be a list of strings, not a string [not-a-list]",
        "bad.jsonl:3: pos: the value must be a list of strings, not a string [not-a-list]",
        "bad.jsonl: 1 more error not listed; raise --max-errors to list more",
        "bad.jsonl:1: neg: the row has 1 negative, but --neg-nums is 15, so training repeats negatives. "
        "Add negatives (see `embedctl mine-negatives --help`) or lower --neg-nums [few-negatives]",
    ]


def test_the_json_object_describes_each_file_and_limits_the_listed_errors(capsys):
    with pytest.raises(CheckFailed):
        validate_data.command(files=["good.jsonl", "bad.jsonl"], max_errors="1", json_output=True)
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    good, bad = document["files"]
    assert list(bad) == ["path", "rows", "kinds", "errors", "warnings", "stats"]
    assert (good["path"], good["rows"], good["kinds"], good["errors"]) == ("good.jsonl", 1, {"hard-negatives": 1}, [])
    assert list(bad["errors"][0]) == ["line", "field", "code", "message"]
    assert (len(bad["errors"]), bad["stats"]["errors"]) == (1, 3)


def test_the_json_object_of_a_valid_file(capsys):
    validate_data.command(files=["good.jsonl"], json_output=True)
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_the_example_file_is_checked_if_the_folder_has_no_such_file(capsys):
    validate_data.command(files=["file.json"], json_output=True)
    printed = capsys.readouterr()
    assert "shipped with embedctl" in printed.err
    assert json.loads(printed.out)["files"][0]["path"] == str(example_data("file.json"))


def test_a_file_in_the_folder_overrides_the_example_file(folder, capsys):
    (folder / "file.json").write_text(GOOD)
    validate_data.command(files=["file.json"], json_output=True)
    printed = capsys.readouterr()
    assert "shipped" not in printed.err
    assert json.loads(printed.out)["files"][0]["path"] == "file.json"


def test_the_example_files_have_no_warnings(capsys):
    names = ["train.json", "eval.json", "file.json"]
    kinds = sorted(str(path) for path in example_data("kinds").glob("*.jsonl"))
    validate_data.command(files=[str(example_data(name)) for name in names] + kinds, json_output=True, neg_nums="0")
    files = json.loads(capsys.readouterr().out)["files"]
    assert [file["path"] for file in files if file["warnings"]] == []


def test_a_command_without_a_file_is_an_error():
    with pytest.raises(ConfigError, match="no file given") as raised:
        validate_data.command()
    assert "embedctl validate-data" in raised.value.hint


def test_a_missing_file_is_an_error_before_the_others_are_read(capsys):
    with pytest.raises(DataError, match="no such file"):
        validate_data.command(files=["bad.jsonl", "nope.json"])
    assert capsys.readouterr().out == ""


def test_lengths_are_those_of_the_model_and_require_it(minilm):
    config = load(ValidateConfig, None, {"files": ["good.jsonl"], "model_name_or_path": minilm})
    counter = validate_data.token_counter(config)
    assert counter is not None
    assert counter.limits == {"query": 128, "pos": 256, "neg": 256}
    with pytest.raises(ConfigError, match=r"--passage-max-len 513: .* has positions for 512 tokens only"):
        validate_data.command(files=["good.jsonl"], model_name_or_path=minilm, passage_max_len="513")
    with pytest.raises(ConfigError, match="--query-max-len has no effect without --model-name-or-path"):
        validate_data.command(files=["good.jsonl"], query_max_len="12")


def test_the_built_in_model_has_no_tokenizer_before_training():
    with pytest.raises(ConfigError, match="no tokenizer") as raised:
        validate_data.command(files=["good.jsonl"], model_name_or_path="tiny")
    assert raised.value.hint


def test_token_counts_are_those_of_the_models_tokenizer(minilm, capsys):
    from transformers import AutoTokenizer

    path = str(example_data("kinds/hard_negatives.jsonl"))
    validate_data.command(files=[path], model_name_or_path=minilm, query_max_len="12", json_output=True)
    tokens = json.loads(capsys.readouterr().out)["files"][0]["stats"]["tokens"]
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    queries = [len(tokenizer(row["query"])["input_ids"]) for row in rows]
    negatives = [len(tokenizer(text)["input_ids"]) for row in rows for text in row["neg"]]
    assert tokens["query"]["max"] == max(queries)
    assert tokens["query"]["truncated"] == sum(length > 12 for length in queries) > 0
    assert tokens["neg"]["mean"] == round(sum(negatives) / len(negatives), 1)
    assert tokens["neg"]["truncated_share"] == 0.0


def test_the_share_of_unknown_tokens(minilm, folder, capsys):
    rows = [{"query": "bees", "pos": ["honey \u13a0\u13a1 \u13a2"]}]  # two words of a script that the vocabulary lacks
    Path("cherokee.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    validate_data.command(files=["cherokee.jsonl"], model_name_or_path=minilm, json_output=True)
    tokens = json.loads(capsys.readouterr().out)["files"][0]["stats"]["tokens"]
    assert (tokens["pos"]["unknown"], tokens["pos"]["unknown_share"]) == (2, 0.4)  # [CLS] honey [UNK] [UNK] [SEP]
    assert tokens["query"]["unknown_share"] == 0.0


def test_exit_codes_of_the_program(folder):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "embedctl", "validate-data", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)

    failed = run("bad.jsonl")
    assert failed.returncode == 1
    assert "bad.jsonl:2: pos:" in failed.stdout
    assert "error: 3 errors in 1 file" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert run("nope.json").returncode == 2

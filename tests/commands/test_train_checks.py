"""Checks of `embedctl train` for options without effect, and for --dry-run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from embedctl.commands.train import command
from embedctl.commands.train_checks import check_effects, check_main_machine, note_default_model
from embedctl.config import EncodeConfig, SearchConfig, TrainConfig, load
from embedctl.errors import ConfigError, ModelError


@pytest.mark.parametrize("name", ["eval_steps", "early_stopping_patience"])
def test_options_that_require_evaluation_rows(name):
    with pytest.raises(ConfigError, match="no rows are given to evaluate on"):
        check_effects(load(TrainConfig, None, {name: "2", "dataset": ["rows.jsonl"]}))
    check_effects(load(TrainConfig, None, {name: "2", "eval_dataset": ["rows.jsonl"]}))


def machines(name: str) -> TrainConfig:
    flags = {"num_machines": "2", "num_processes": "2", "main_process_ip": name, "main_process_port": "29500"}
    return load(TrainConfig, None, flags)


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 70])
def test_a_main_machine_whose_name_cannot_be_resolved_is_refused(name):
    with pytest.raises(ConfigError, match=f"--main-process-ip {re.escape(name)}: this machine cannot resolve") as error:
        check_main_machine(machines(name))
    assert error.value.exit_code == 2


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1"])
def test_a_main_machine_with_a_known_address_is_accepted(name):
    check_main_machine(machines(name))
    check_main_machine(load(TrainConfig, None, {}))
    with pytest.raises(ConfigError, match="--main-process-ip requires --num-machines above 1"):
        load(TrainConfig, None, {"main_process_ip": name})


@pytest.mark.parametrize("flags", [{"lora_alpha": "8"}, {"lora_target_modules": ["query"]}])
def test_options_of_adapters_require_a_rank(flags):
    with pytest.raises(ConfigError, match="has no effect without --lora-rank"):
        load(TrainConfig, None, flags)
    load(TrainConfig, None, flags | {"lora_rank": "4"})


@pytest.mark.parametrize("config", [EncodeConfig, SearchConfig])
@pytest.mark.parametrize("source", ["-", "texts.txt"])
def test_a_field_of_plain_text_is_refused(config, source):
    with pytest.raises(ConfigError, match="--field body has no effect"):
        load(config, None, {"input": source, "field": "body"})
    load(config, None, {"input": source})
    load(config, None, {"input": "texts.jsonl", "field": "body"})


def test_a_line_names_the_built_in_model_only_if_it_was_not_chosen(capsys):
    rows = {"dataset": ["rows.jsonl"]}
    note_default_model(load(TrainConfig, None, rows | {"model_name_or_path": "tiny"}))
    note_default_model(load(TrainConfig, None, {}))
    assert capsys.readouterr().err == ""
    note_default_model(load(TrainConfig, None, rows))
    assert "no --model given; the built-in model tiny is trained" in capsys.readouterr().err


def test_a_dry_run_refuses_a_missing_model_and_creates_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "pos": ["b"], "neg": ["c"]}\n')
    with pytest.raises(ModelError, match="nowhere"):
        command(model_name_or_path="./nowhere", dataset=["rows.jsonl"], dry_run=True)
    with pytest.raises(ConfigError, match="--mrl-dims"):
        command(mrl_dims=["100000"], dataset=["rows.jsonl"], dry_run=True)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_dry_run_refuses_layers_for_adapters_that_the_model_does_not_have(
    tiny_model, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "pos": ["b"], "neg": ["c"]}\n')
    options = {"model_name_or_path": tiny_model, "dataset": ["rows.jsonl"], "cpu": True, "dry_run": True}
    with pytest.raises(ConfigError, match="--lora-target-modules nowhere: the model has no linear layer") as error:
        command(**options, lora_rank="4", lora_target_modules=["query", "nowhere"])
    assert error.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    command(**options, lora_rank="4", lora_target_modules=["query"])
    assert "accelerate" in capsys.readouterr().out


def test_a_dry_run_does_not_change_a_folder_with_a_run(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "out"
    run.mkdir()
    for name, text in {"embedctl.json": "{}", "modules.json": "[]", "config.yaml": "optim: {lr: 0.1}\n"}.items():
        (run / name).write_text(text)
    before = {path.name: path.read_text() for path in run.iterdir()}
    command(overwrite=True, dry_run=True, json_output=True)
    assert {path.name: path.read_text() for path in run.iterdir()} == before
    config = Path(json.loads(capsys.readouterr().out)["command"].split()[-1])
    assert load(TrainConfig, str(config)).run.overwrite

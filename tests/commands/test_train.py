"""Tests of `embedctl train` before it starts the workers: its checks and the configuration that it writes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from embedctl.commands.train import check_data, command, prepare_output, resolve_resume, with_absolute_paths
from embedctl.config import TrainConfig, load
from embedctl.errors import ConfigError, DataError
from embedctl.files import write_atomically
from embedctl.locks import LOCK_FILE
from embedctl.resources import display_path, example_data
from embedctl.run_folder import LIST_FILE


@pytest.mark.parametrize("key", ["dataset", "eval_dataset"])
def test_a_folder_in_place_of_a_data_file_is_an_error(tmp_path, key):
    files = {"dataset": (str(example_data("train.json")),)} | {key: (str(tmp_path),)}
    with pytest.raises(DataError, match="is a folder"):
        check_data(TrainConfig.model_validate({"data": files}))


def test_an_output_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="be written: Not a directory"):
        prepare_output(TrainConfig.model_validate({"run": {"output_dir": str(tmp_path / "file" / "out")}}))


def test_a_missing_output_folder_is_created_empty(tmp_path):
    folder = prepare_output(TrainConfig.model_validate({"run": {"output_dir": str(tmp_path / "a" / "out")}}))
    assert {path.name for path in folder.iterdir()} == {LIST_FILE, LOCK_FILE}


def test_dry_run_with_json_prints_one_json_object(tmp_path, capsys):
    config = {"run": {"output_dir": str(tmp_path / "out")}, "launch": {"dry_run": True}, "json_output": True}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    command(config_file=str(tmp_path / "c.yaml"))
    assert "--config_file" in shlex.split(json.loads(capsys.readouterr().out)["command"])


def test_paths_become_absolute_and_dataset_weights_stay(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b:2", "eval.json"):
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()
    flags = {
        "dataset": ["a.json:0.00001", "b:2", "b:2:3"],
        "eval_dataset": ["eval.json"],
        "model_name_or_path": "model",
    }
    absolute = with_absolute_paths(load(TrainConfig, None, flags))
    assert absolute.data.dataset == (f"{tmp_path}/a.json:0.00001", f"{tmp_path}/b:2", f"{tmp_path}/b:2:3")
    assert absolute.data.eval_dataset == (f"{tmp_path}/eval.json",)
    assert absolute.model.model_name_or_path == f"{tmp_path}/model"
    assert with_absolute_paths(absolute) == absolute
    assert display_path(absolute.data.dataset[0]) == "a.json:0.00001"


def test_model_names_that_are_not_folders_stay_unchanged(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    for name in ("tiny", "BAAI/bge-base-zh-v1.5"):
        config = with_absolute_paths(load(TrainConfig, None, {"model_name_or_path": name}))
        assert config.model.model_name_or_path == name
        assert display_path(name) == name
    assert display_path("/elsewhere/model") == "/elsewhere/model"


def test_an_existing_configuration_file_is_replaced(tmp_path: Path):
    for text in ("first", "second"):
        write_atomically(tmp_path / "config.yaml", text)
        assert (tmp_path / "config.yaml").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def config_with_resume(resume: str, output: Path) -> TrainConfig:
    return TrainConfig.model_validate({"run": {"resume": resume, "output_dir": str(output)}})


@pytest.mark.parametrize("by_name", [True, False])
def test_resume_is_ignored_if_the_output_folder_contains_no_run(by_name, tmp_path: Path, capsys):
    run = tmp_path / "run"
    config = config_with_resume(str(run) if by_name else "latest", run)
    assert resolve_resume(config).run.resume is None
    assert f"{run} contains no run yet; starting a new run at step 0" in capsys.readouterr().err
    run.mkdir()
    (run / "config.yaml").touch()
    assert resolve_resume(config) == config
    assert capsys.readouterr().err == ""


def test_another_folder_to_resume_from_must_contain_a_checkpoint(tmp_path: Path):
    other = tmp_path / "other"
    with pytest.raises(ConfigError, match="no such folder"):
        resolve_resume(config_with_resume(str(other), tmp_path / "run"))
    other.mkdir()
    with pytest.raises(ConfigError, match="contains no checkpoint"):
        resolve_resume(config_with_resume(str(other), tmp_path / "run"))
    checkpoint = other / "states" / "step-00000004"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").touch()
    for folder in (other, checkpoint):
        config = config_with_resume(str(folder), tmp_path / "run")
        assert resolve_resume(config) == config


def test_an_unknown_metric_is_an_error_before_the_workers_start(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--metric ndcg: no such metric"):
        command(metric="ndcg")
    with pytest.raises(ConfigError, match="--metric nDCG@10 dim 64: no such metric"):
        command(metric="nDCG@10 dim 64", mrl_dims=["32"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [{"log_with": "trackio"}, {"lora_rank": "8"}])
def test_a_missing_package_is_an_error_before_the_workers_start(flags, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("embedctl.commands.train.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"requires the package (trackio|peft)") as error:
        command(**flags)
    assert error.value.hint in {"run `pip install 'embedctl[trackio]'`", "run `pip install 'embedctl[peft]'`"}
    assert list(tmp_path.iterdir()) == []

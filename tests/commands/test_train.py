"""What `embedctl train` finds and keeps with a run before it hands over to the launcher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedctl.commands.train import command, expect_data, prepare_output, settle_resume, with_absolute_paths
from embedctl.config import TrainConfig, load
from embedctl.errors import ConfigError, DataError
from embedctl.files import write_atomically
from embedctl.resources import example_data, shown


@pytest.mark.parametrize("key", ["dataset", "eval_dataset"])
def test_a_folder_is_no_data_file(tmp_path, key):
    files = {"dataset": (str(example_data("train.json")),)} | {key: (str(tmp_path),)}
    with pytest.raises(DataError, match="is a folder"):
        expect_data(TrainConfig.model_validate({"data": files}))


def test_an_output_that_can_not_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="can't be written"):
        prepare_output(TrainConfig.model_validate({"run": {"output_dir": str(tmp_path / "file" / "out")}}))


def test_an_output_is_made_and_left_empty(tmp_path):
    folder = prepare_output(TrainConfig.model_validate({"run": {"output_dir": str(tmp_path / "a" / "out")}}))
    assert list(folder.iterdir()) == []


def test_dry_run_with_json_is_one_document(tmp_path, capsys):
    config = {"run": {"output_dir": str(tmp_path / "out")}, "launch": {"dry_run": True}, "json_output": True}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    command(config_file=str(tmp_path / "c.yaml"))
    assert "accelerate launch" in json.loads(capsys.readouterr().out)["command"]


def test_a_run_keeps_absolute_paths_and_weights(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b:2", "eval.json"):
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()
    flags = {
        "dataset": ["a.json:0.00001", "b:2", "b:2:3"],
        "eval_dataset": ["eval.json"],
        "model_name_or_path": "model",
    }
    kept = with_absolute_paths(load(TrainConfig, None, flags))
    assert kept.data.dataset == (f"{tmp_path}/a.json:0.00001", f"{tmp_path}/b:2", f"{tmp_path}/b:2:3")
    assert kept.data.eval_dataset == (f"{tmp_path}/eval.json",)
    assert kept.model.model_name_or_path == f"{tmp_path}/model"
    assert with_absolute_paths(kept) == kept
    assert shown(kept.data.dataset[0]) == "a.json:0.00001"


def test_names_that_are_no_folders_stay(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    for name in ("tiny", "BAAI/bge-base-zh-v1.5"):
        kept = with_absolute_paths(load(TrainConfig, None, {"model_name_or_path": name}))
        assert kept.model.model_name_or_path == name
        assert shown(name) == name
    assert shown("/elsewhere/model") == "/elsewhere/model"


def test_a_file_is_replaced_whole(tmp_path: Path):
    for text in ("first", "second"):
        write_atomically(tmp_path / "config.yaml", text)
        assert (tmp_path / "config.yaml").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def resuming(wanted: str, output: Path) -> TrainConfig:
    return TrainConfig.model_validate({"run": {"resume": wanted, "output_dir": str(output)}})


@pytest.mark.parametrize("named", [True, False])
def test_a_scheduler_may_always_pass_resume(named, tmp_path: Path, capsys):
    run = tmp_path / "run"
    first = resuming(str(run) if named else "latest", run)
    assert settle_resume(first).run.resume is None
    assert f"{run} holds no run yet; it begins at step 0" in capsys.readouterr().err
    run.mkdir()
    (run / "config.yaml").touch()
    assert settle_resume(first) == first
    assert capsys.readouterr().err == ""


def test_a_state_is_expected_where_one_was_named(tmp_path: Path):
    other = tmp_path / "other"
    with pytest.raises(ConfigError, match="no such folder"):
        settle_resume(resuming(str(other), tmp_path / "run"))
    other.mkdir()
    with pytest.raises(ConfigError, match="holds no state"):
        settle_resume(resuming(str(other), tmp_path / "run"))
    state = other / "states" / "step-00000004"
    state.mkdir(parents=True)
    (state / "manifest.json").touch()
    for wanted in (other, state):
        asked = resuming(str(wanted), tmp_path / "run")
        assert settle_resume(asked) == asked


def test_a_metric_that_no_run_has_is_said_before_the_workers_start(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--metric ndcg: no such metric"):
        command(metric="ndcg")
    with pytest.raises(ConfigError, match="--metric nDCG@10 dim 64: no such metric"):
        command(metric="nDCG@10 dim 64", mrl_dims=["32"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [{"log_with": "trackio"}, {"lora_rank": "8"}])
def test_a_package_that_is_missing_is_said_before_the_workers_start(flags, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("embedctl.commands.train.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package (trackio|peft)"):
        command(**flags)
    assert list(tmp_path.iterdir()) == []

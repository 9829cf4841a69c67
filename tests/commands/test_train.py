"""What `train` finds before anything starts."""

from __future__ import annotations

import json

import pytest

from embedctl.commands.train import command, expect_data, prepare_output
from embedctl.config import TrainConfig
from embedctl.errors import ConfigError, DataError
from embedctl.resources import example_data


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

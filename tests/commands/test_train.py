"""What `train` finds before anything starts."""

from __future__ import annotations

import pytest

from embedctl.commands.train import expect_data, prepare_output
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

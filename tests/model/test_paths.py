"""Which names can be those of a saved model; `train` and every loader use the same check."""

from __future__ import annotations

import pytest

from embedctl.commands.train import check_model
from embedctl.config import TrainConfig, load
from embedctl.errors import ModelError
from embedctl.model.paths import check_model_path


@pytest.mark.parametrize("file", ["modules.json", "config.json", "adapter_config.json"])
def test_the_folder_of_a_model_or_of_an_adapter_can_be_trained(file, tmp_path):
    config = load(TrainConfig, None, {"model_name_or_path": str(tmp_path), "output_dir": str(tmp_path / "out")})
    with pytest.raises(ModelError, match="the folder contains no model"):
        check_model(config)
    (tmp_path / file).touch()
    assert check_model(config) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [("./nowhere", "no such folder"), ("a/b/c", "no such folder"), (__file__, "this is a file"), ("tiny", "built-in")],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(ModelError, match=message):
        check_model_path(name)


@pytest.mark.parametrize("name", ["BAAI/bge-m3", "all-MiniLM-L6-v2"])
def test_names_of_the_hub_are_accepted(name):
    assert check_model_path(name) is None

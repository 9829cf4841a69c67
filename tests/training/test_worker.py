"""Checks of the base model of a run."""

from __future__ import annotations

import shutil

import pytest

from embedctl.config import TrainConfig, load
from embedctl.errors import ConfigError
from embedctl.training.job import TrainJob
from embedctl.training.worker import load_model


def job(model: str, pooling: str) -> TrainJob:
    return TrainJob.from_config(load(TrainConfig, None, {"model_name_or_path": model, "pooling": pooling}))


def test_pooling_must_be_that_of_a_model_with_its_own(tiny_model):
    assert load_model(job(tiny_model, "mean")).model[1].pooling_mode == "mean"
    with pytest.raises(ConfigError, match=r"--pooling cls: the model .* has its own pooling: mean"):
        load_model(job(tiny_model, "cls"))


def test_pooling_is_chosen_for_a_transformers_model(tiny_model, tmp_path):
    plain = shutil.copytree(tiny_model, tmp_path / "plain")
    (plain / "modules.json").unlink()
    assert load_model(job(str(plain), "cls")).model[1].pooling_mode == "cls"

"""Checks of the base model of a run."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from embedctl.config import TextSection, TrainConfig, load
from embedctl.errors import ConfigError
from embedctl.model.embedder import Embedder
from embedctl.training.job import TrainJob
from embedctl.training.worker import check_lengths, load_model


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


def test_given_lengths_that_the_model_cannot_apply_are_refused(tiny_model):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    limit = embedder.position_limit
    for query, passage in ((128, 512), (limit, 512), (8, limit)):  # 128 and 512 are the defaults
        text = TextSection(query_max_len=query, passage_max_len=passage)
        check_lengths(SimpleNamespace(text=text), embedder)
    with pytest.raises(ConfigError, match=f"--query-max-len {limit + 1}: the model has positions for {limit} tokens"):
        check_lengths(SimpleNamespace(text=TextSection(query_max_len=limit + 1)), embedder)
    embedder.use_own_forward(tiny_model, "test")
    with pytest.raises(ConfigError, match="--passage-max-len 8: sentence-transformers' own code"):
        check_lengths(SimpleNamespace(text=TextSection(passage_max_len=8)), embedder)

"""Pickled weights and paths that leave the model's folder are refused, for every loader."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedctl.errors import ModelError
from embedctl.mining.rerank import load_cross_encoder
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_sentence_transformer
from embedctl.model.trust import no_pickles


@pytest.fixture
def model(tiny_model: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def with_pickled_weights(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


@pytest.mark.parametrize("plain", [False, True])
def test_pickled_weights_are_refused_and_the_command_of_the_hint_converts_them(model, plain):
    before = Embedder.from_pretrained(str(model), device="cpu").encode(["river stone"])
    with_pickled_weights(model)
    if plain:
        (model / "modules.json").rename(model / "modules")
    with pytest.raises(ModelError, match="the weights are pickled and are not read") as refused:
        load_sentence_transformer(str(model))
    command = shlex.split(refused.value.hint.partition(": ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    if plain:
        (model / "modules").rename(model / "modules.json")
    assert np.array_equal(Embedder.from_pretrained(str(model), device="cpu").encode(["river stone"]), before)


def test_pickled_weights_of_another_module_and_of_a_reranker_are_refused(model):
    (model / "2_Dense").mkdir()
    torch.save({}, model / "2_Dense/pytorch_model.bin")
    for load in (lambda: load_sentence_transformer(str(model)), lambda: load_cross_encoder(str(model), "cpu")):
        with pytest.raises(ModelError, match=r"2_Dense/pytorch_model\.bin: the weights are pickled"):
            load()


def test_safetensors_beside_pickled_weights_are_read(model):
    torch.save({}, model / "pytorch_model.bin")
    assert load_sentence_transformer(str(model)).get_embedding_dimension() == 256


def test_a_library_that_loads_a_pickle_raises_an_error(tmp_path):
    torch.save({}, tmp_path / "weights.bin")
    with pytest.raises(ModelError, match=r"weights\.bin: the weights are pickled"), no_pickles():
        torch.load(tmp_path / "weights.bin")
    assert torch.load(tmp_path / "weights.bin") == {}


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b"])
def test_a_module_outside_the_folder_is_refused(model, path):
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = path
    (model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"modules\.json: the path .* is outside the folder of the model"):
        load_sentence_transformer(str(model))


@pytest.mark.parametrize("path", ["../model.safetensors", "/tmp/model.safetensors"])
def test_weights_outside_the_folder_are_refused(model, path):
    (model / "model.safetensors").rename(model.parent / "model.safetensors")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": path}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"index\.json: the path .* is outside the folder"):
        load_sentence_transformer(str(model))


def test_links_of_the_user_are_followed(model, tmp_path):
    elsewhere = tmp_path / "elsewhere.safetensors"
    (model / "model.safetensors").rename(elsewhere)
    (model / "model.safetensors").symlink_to(elsewhere)
    assert load_sentence_transformer(str(model)).get_embedding_dimension() == 256


@pytest.mark.parametrize("length", [0, 7, 1000])
def test_cut_weights_are_an_error_of_the_model(model, length):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ModelError, match="the embedding model cannot be loaded"):
        load_sentence_transformer(str(model))

"""Code of a model, pickled weights and paths that leave the model's folder are refused, for every loader."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedctl.errors import ModelError
from embedctl.mining.rerank import load_cross_encoder
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_sentence_transformer, load_tokenizer
from embedctl.model.trust import check_code, check_model_files, safe_loading
from embedctl.training.export import Samples, verify


@pytest.fixture
def model(tiny_model: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def with_pickled_weights(model: Path) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def run_command_of(refused: ModelError) -> None:
    """Run the command in the hint of an error."""
    command = shlex.split(refused.hint.partition("`")[2].rpartition("`")[0])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)


@pytest.mark.parametrize("plain", [False, True])
def test_pickled_weights_are_refused_and_the_command_of_the_hint_converts_them(model, plain):
    before = Embedder.from_pretrained(str(model), device="cpu").encode(["river stone"])
    with_pickled_weights(model)
    if plain:
        (model / "modules.json").rename(model / "modules")
    with pytest.raises(ModelError, match="the weights are pickled and are not read") as refused:
        load_sentence_transformer(str(model))
    run_command_of(refused.value)
    if plain:
        (model / "modules").rename(model / "modules.json")
    assert np.array_equal(Embedder.from_pretrained(str(model), device="cpu").encode(["river stone"]), before)


def with_dense_module(model: Path) -> Path:
    """Add a dense module to a model and return its folder."""
    from sentence_transformers.sentence_transformer.modules import Dense

    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": 9, "name": "dense", "path": "9_Dense", "type": f"{Dense.__module__}.Dense"})
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "9_Dense").mkdir()
    Dense(256, 8).save(str(model / "9_Dense"))
    return model / "9_Dense"


def test_pickled_weights_of_another_module_are_refused(model):
    dense = with_dense_module(model)
    assert Embedder.from_pretrained(str(model), device="cpu").encode(["river"]).shape == (1, 8)
    with_pickled_weights(dense)
    with pytest.raises(ModelError, match=r"9_Dense/pytorch_model\.bin: the weights are pickled"):
        load_sentence_transformer(str(model))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.pth", "epoch=1.ckpt"])
def test_pickled_weights_of_any_name_are_refused_by_every_loader(model, name):
    with_pickled_weights(model)
    (model / "pytorch_model.bin").rename(model / name)
    for load in (lambda: load_sentence_transformer(str(model)), lambda: load_cross_encoder(str(model), "cpu")):
        with pytest.raises(ModelError, match=f"{name}: the weights are pickled"):
            load()


def test_pickled_shards_are_refused_and_the_command_of_the_hint_converts_them(model):
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {f"pytorch_model-0000{number}-of-00002.bin": names[number - 1 :: 2] for number in (1, 2)}
    for file, part in shards.items():
        torch.save({name: weights[name] for name in part}, model / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="the weights are pickled") as refused:
        load_sentence_transformer(str(model))
    run_command_of(refused.value)
    assert load_file(model / "model.safetensors").keys() == weights.keys()
    load_sentence_transformer(str(model))


def test_a_pickled_adapter_is_refused(model, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    shutil.copy(model / "config.json", adapter)
    config = {"peft_type": "LORA", "base_model_name_or_path": str(model), "r": 2, "target_modules": ["query"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    torch.save({"weight": torch.zeros(2)}, adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.bin: the weights are pickled") as refused:
        load_sentence_transformer(str(adapter))
    run_command_of(refused.value)
    assert load_file(adapter / "adapter_model.safetensors").keys() == {"weight"}
    with_pickled_weights(model)
    with pytest.raises(ModelError, match=r"model/pytorch_model\.bin: the weights are pickled"):
        load_sentence_transformer(str(adapter))


def test_files_of_a_trainer_and_of_its_checkpoints_are_no_weights(model):
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "checkpoint-5/pytorch_model.bin"):
        (model / name).parent.mkdir(exist_ok=True)
        torch.save({}, model / name)
    assert load_sentence_transformer(str(model)).get_embedding_dimension() == 256


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the model some/model in an otherwise empty Hugging Face cache; there is no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "0" * 40
    folder = tmp_path / "hub/models--some--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text(commit)
    return folder / "snapshots" / commit


def test_pickled_weights_of_a_hub_model_are_refused(model, hub_cache):
    with_pickled_weights(model)
    shutil.copytree(model, hub_cache)
    with pytest.raises(ModelError, match=r"some/model: .* pickled weights are not read") as refused:
        load_sentence_transformer("some/model")
    assert "`hf download some/model --local-dir model`" in refused.value.hint


def test_code_of_a_hub_model_is_refused(model, hub_cache):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "other/repo--own.Model"}}))
    shutil.copytree(model, hub_cache)
    with pytest.raises(ModelError, match=r"some/model: .*config\.json names the class other/repo--own\.Model"):
        load_sentence_transformer("some/model")


def test_a_hub_model_is_loaded(model, hub_cache):
    shutil.copytree(model, hub_cache)
    assert load_sentence_transformer("some/model").get_embedding_dimension() == 256


def test_safetensors_beside_pickled_weights_are_read(model):
    torch.save({}, model / "pytorch_model.bin")
    assert load_sentence_transformer(str(model)).get_embedding_dimension() == 256


def test_a_library_that_loads_a_pickle_raises_an_error(tmp_path):
    torch.save({}, tmp_path / "weights.bin")
    with pytest.raises(ModelError, match=r"weights\.bin: the weights are pickled"), safe_loading(str(tmp_path)):
        torch.load(tmp_path / "weights.bin")
    assert torch.load(tmp_path / "weights.bin") == {}


@pytest.fixture
def yes_on_stdin(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stdin = io.StringIO("y\n" * 50)
    monkeypatch.setattr(sys, "stdin", stdin)
    return stdin


LOADERS = {
    "weights": load_sentence_transformer,
    "reranker": lambda path: load_cross_encoder(path, "cpu"),
    "tokenizer": load_tokenizer,
    "export": lambda path: verify(
        Path(path), Samples(["river"], []), np.zeros((1, 256), np.float32), trust_remote_code=False
    ),
}


def code_in_router(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[-1] |= {"path": "2_Router", "type": "sentence_transformers.base.modules.router.Router"}
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "2_Router").mkdir()
    config = {"types": {"query_0": "own.Module"}, "structure": {"query": ["query_0"]}, "parameters": {}}
    (model / "2_Router/router_config.json").write_text(json.dumps(config))


def code_in_base_of_adapter(model: Path) -> None:
    base = Path(shutil.copytree(model, model.parent / "base"))
    set_auto_map(base / "config.json", AutoConfig="own.Config", AutoModel="own.Model")
    (base / "own.py").write_text((model / "own.py").read_text())
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base)}
    (model / "adapter_config.json").write_text(json.dumps(config))


def code_in_tokenizer(model: Path) -> None:
    set_auto_map(model / "tokenizer_config.json", AutoTokenizer=[None, "own.Tokenizer"])


def code_of_another_repository(model: Path) -> None:
    set_auto_map(model / "config.json", AutoModel="some/other--own.Model")


def set_auto_map(file: Path, **classes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": classes, "model_type": "foreign"}))


@pytest.mark.parametrize(
    "add_code", [code_in_router, code_in_base_of_adapter, code_in_tokenizer, code_of_another_repository]
)
@pytest.mark.parametrize("load", LOADERS)
def test_code_is_refused_by_every_loader_before_anything_is_loaded(load, add_code, model, yes_on_stdin):
    (model / "own.py").write_text(f"open({str(model / 'marker')!r}, 'w').close()")
    add_code(model)
    (model / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"\.json names the class .*own\."):
        LOADERS[load](str(model))
    assert not (model / "marker").exists()
    assert yes_on_stdin.tell() == 0


def test_classes_that_transformers_has_too_are_loaded_from_transformers(model, yes_on_stdin):
    (model / "own.py").write_text(f"open({str(model / 'marker')!r}, 'w').close()")
    file = model / "config.json"
    classes = {"AutoConfig": "own.BertConfig", "AutoModel": "own.BertModel"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": classes}))
    load_sentence_transformer(str(model))
    assert not (model / "marker").exists()
    assert yes_on_stdin.tell() == 0


def test_a_library_that_would_ask_whether_to_trust_code_raises_an_error(tmp_path, yes_on_stdin):
    from transformers.dynamic_module_utils import resolve_trust_remote_code

    with pytest.raises(ValueError, match="trust_remote_code"), safe_loading(str(tmp_path)):
        resolve_trust_remote_code(None, str(tmp_path), has_local_code=False, has_remote_code=True)
    assert yes_on_stdin.tell() == 0


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
def test_truncated_weights_are_a_model_error(model, length):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"model\.safetensors: the file is damaged or truncated"):
        load_sentence_transformer(str(model))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"sentence_transformers": {"activation_fn": "torch.distributed.run.main"}}),
        ("config.json", {"sbert_ce_default_activation_function": "torch.hub.load"}),
        ("config.json", {"sentence_transformers": {"activation_fn": "own.Activation"}}),
        ("1_Pooling/config.json", {"activation_function": "torch.nn.functional.relu"}),
    ],
)
def test_an_activation_function_that_is_no_layer_of_torch_is_refused(model, file, content):
    """sentence-transformers calls what the name refers to, if it begins with `torch.`."""
    (model / file).write_text(json.dumps(json.loads((model / file).read_text()) | content))
    with pytest.raises(ModelError, match=r"names the activation function (torch|own)\."):
        check_code(str(model))
    check_model_files(str(model), trust_remote_code=True)


def test_layers_of_torch_and_names_of_transformers_are_activation_functions(model):
    config = json.loads((model / "config.json").read_text())
    config |= {
        "activation_function": "gelu_new",
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
    }
    (model / "config.json").write_text(json.dumps(config))
    check_code(str(model))
    loaded = load_sentence_transformer(str(model))
    assert loaded[0].auto_model.config.activation_function == "gelu_new"

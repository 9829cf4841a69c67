"""A model is loaded whole, or refused with the names of what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Router, Transformer

from embedctl.errors import ModelError
from embedctl.model.completeness import common_prefix
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_tokenizer

TEXTS = ["river stone", "a longer text about the market and the castle"]


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def rewrite(model: Path, rename) -> None:
    """Save the weights under the names that `rename` returns; None leaves a weight out."""
    file = model / "model.safetensors"
    weights = {rename(name): weight for name, weight in load_file(file).items()}
    save_file({name: weight for name, weight in weights.items() if name}, file, {"format": "pt"})


def test_missing_weights_are_named(model):
    rewrite(model, lambda name: None if "layer.1.output" in name else name)
    with pytest.raises(ModelError, match=r"lack 4 weights of BertModel: encoder\.layer\.1\.output"):
        Embedder.from_pretrained(str(model), device="cpu")


@pytest.mark.parametrize("prefix", ["module.", "model.encoder."])
def test_a_common_prefix_is_removed(model, tiny_model, prefix, capsys):
    rewrite(model, lambda name: prefix + name)
    vectors = Embedder.from_pretrained(str(model), device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(vectors, Embedder.from_pretrained(tiny_model, device="cpu").encode(TEXTS))
    assert f"the prefix {prefix} is removed from the names of the weights" in capsys.readouterr().err


def test_other_names_are_refused(model):
    rewrite(model, lambda name: name.replace("encoder", "body"))
    with pytest.raises(ModelError, match=r"lack .*; the files contain .* with other names, for example body"):
        Embedder.from_pretrained(str(model), device="cpu")


def test_an_unused_pooler_may_be_missing(model, tiny_model):
    rewrite(model, lambda name: None if "pooler" in name else name)
    vectors = Embedder.from_pretrained(str(model), device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(vectors, Embedder.from_pretrained(tiny_model, device="cpu").encode(TEXTS))


def test_a_prefix_must_give_all_missing_names():
    assert common_prefix(["a.b", "c"], ["m.a.b", "m.c", "head.w"]) == "m."
    assert common_prefix(["a.b", "c"], ["m.a.b", "c2"]) == ""
    assert common_prefix([], ["m.a"]) == ""


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_named(model, file):
    (model / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n")
    with pytest.raises(ModelError, match=rf"{file}: the file is a pointer of Git LFS") as refused:
        Embedder.from_pretrained(str(model), device="cpu")
    assert "git lfs pull" in refused.value.hint


def test_truncated_weights_are_named(model):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors: the file is damaged or truncated"):
        Embedder.from_pretrained(str(model), device="cpu")


def test_a_missing_tokenizer_is_refused(model):
    for file in [*model.glob("tokenizer*"), *model.glob("vocab*"), *model.glob("special_tokens*")]:
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        Embedder.from_pretrained(str(model), device="cpu")
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(str(model))


def test_a_missing_configuration_of_a_module_is_named(model):
    (model / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json: the configuration of the module Pooling is missing"):
        Embedder.from_pretrained(str(model), device="cpu")


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (
            "query_0_Transformer/tokenizer.json",
            "query_0_Transformer: the tokenizer is missing: the folder contains none",
        ),
        ("document_0_Transformer/model.safetensors", "document_0_Transformer: the weights are missing"),
        (
            "query_1_Pooling/config.json",
            r"query_1_Pooling/config\.json: the configuration of the module Pooling is miss",
        ),
    ],
)
def test_a_missing_file_of_a_route_is_named(file, problem, tiny_model, tmp_path):
    routes = [[Transformer(tiny_model), Pooling(256)] for _ in range(2)]
    SentenceTransformer(modules=[Router.for_query_document(*routes)], device="cpu").save_pretrained(str(tmp_path))
    (tmp_path / file).unlink()
    with pytest.raises(ModelError, match=problem):
        Embedder.from_pretrained(str(tmp_path), device="cpu")


def test_a_transformer_below_the_folder_of_the_model_is_loaded(model, tiny_model):
    """Earlier versions of sentence-transformers save it there."""
    below = model / "0_Transformer"
    below.mkdir()
    for file in [*model.glob("tokenizer*"), *model.glob("*bert*"), model / "config.json", model / "model.safetensors"]:
        file.rename(below / file.name)
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps([modules[0] | {"path": below.name}, *modules[1:]]))
    vectors = Embedder.from_pretrained(str(model), device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(vectors, Embedder.from_pretrained(tiny_model, device="cpu").encode(TEXTS))
    assert load_tokenizer(str(model)).vocab == load_tokenizer(tiny_model).vocab


def test_a_reranker_without_its_tokenizer_is_refused(tiny_model, tmp_path):
    import transformers

    from embedctl.mining.rerank import load_cross_encoder

    config = transformers.AutoConfig.from_pretrained(tiny_model, num_labels=1)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="the tokenizer is missing"):
        load_cross_encoder(str(tmp_path), "cpu")


def test_a_reranker_without_its_head_is_refused(model):
    from embedctl.mining.rerank import load_cross_encoder

    with pytest.raises(ModelError, match=r"classifier\.weight"):
        load_cross_encoder(str(model), "cpu")

"""Wrong configuration files and weights of a model are errors of the user, with the file or the value that is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from embedctl.errors import ModelError
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_tokenizer

Change = Callable[[Path], Any]


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def content(file: str, value: Any) -> Change:
    """Replace the content of a JSON file."""
    return lambda model: (model / file).write_text(value if isinstance(value, str) else json.dumps(value))


def keys(file: str, **values: Any) -> Change:
    """Set keys of a JSON file."""
    return lambda model: (model / file).write_text(json.dumps(json.loads((model / file).read_text()) | values))


def modules(change: Callable[[list[dict[str, Any]]], Any]) -> Change:
    """Replace the content of modules.json."""
    return lambda model: content("modules.json", change(json.loads((model / "modules.json").read_text())))(model)


def weight(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Replace the embedding matrix."""

    def _change(model: Path) -> None:
        weights = load_file(model / "model.safetensors")
        name = "embeddings.word_embeddings.weight"
        save_file(weights | {name: change(weights[name]).contiguous()}, model / "model.safetensors", {"format": "pt"})

    return _change


def dense(**values: Any) -> Change:
    """Append a Dense module whose configuration has these values."""

    def _append(model: Path) -> None:
        copy = SentenceTransformer(str(model), device="cpu")
        copy.append(Dense(256, 8))
        copy.save_pretrained(str(model))
        keys("3_Dense/config.json", **values)(model)

    return _append


STATED, LENGTHS = "config_sentence_transformers.json", "sentence_bert_config.json"
CASES: dict[str, tuple[Change, str]] = {
    "a size that is text": (keys("config.json", hidden_size="256"), "'hidden_size' expected int, got str"),
    "no heads": (keys("config.json", num_attention_heads=0), "the embedding model cannot be loaded"),
    "a padding token without a row": (keys("config.json", pad_token_id=10**6), "cannot be loaded: Padding_idx must be"),
    "an unknown type": (keys("config.json", dtype="float99"), "cannot be loaded: .* no attribute 'float99'"),
    "an unknown activation": (keys("config.json", hidden_act="nosuch"), "cannot be loaded: KeyError: 'nosuch'"),
    "other sizes": (
        keys("config.json", vocab_size=10),
        r"word_embeddings.weight has the shape \(\d+, 256\), but by co",
    ),
    "null": (content("config.json", None), r"config\.json: expected an object with keys and values"),
    "no JSON": (content("config.json", "{"), r"config\.json: the file is not valid JSON"),
    "modules as an object": (content("modules.json", {}), r"modules\.json: expected a list"),
    "no modules": (content("modules.json", []), r"modules\.json: expected a list with at least one value"),
    "a module without a path": (
        modules(lambda old: [old[0], {"type": "T", "name": "n"}]),
        r"json: 1\.path: expected a va",
    ),
    "no pooling": (modules(lambda old: old[:1]), "cannot encode a text: KeyError: 'sentence_embedding'"),
    "only pooling": (modules(lambda old: old[1:]), "cannot encode a text: 'Pooling' object has no attribute"),
    "a length that is text": (
        keys(LENGTHS, max_seq_length="512"),
        r"bert_config\.json: max_seq_length: expected an int",
    ),
    "a negative length": (keys(LENGTHS, max_seq_length=-1), "max_seq_length: expected a number above 0"),
    "an unknown setting": (keys(LENGTHS, nosuch=1), "cannot be loaded: .* unexpected keyword argument 'nosuch'"),
    "a tokenizer that is a list": (content("tokenizer.json", []), "the files of the tokenizer cannot be read"),
    "another tokenizer model": (
        keys("tokenizer.json", model={"type": "X"}),
        "the files of the tokenizer cannot be read",
    ),
    "a tokenizer class": (keys("tokenizer_config.json", tokenizer_class=5), "tokenizer_class: expected text"),
    "an unknown pooling key": (
        keys("1_Pooling/config.json", nosuch=1),
        "Pooling.* unexpected keyword argument 'nosuch'",
    ),
    "another dimension": (
        keys("1_Pooling/config.json", embedding_dimension=64),
        "states 64 dimensions, but .* have 256",
    ),
    "an activation of a module": (dense(activation_function=None), "the embedding model cannot be loaded"),
    "prompts as a list": (keys(STATED, prompts=["a"]), "prompts: expected an object with keys and values"),
    "a prompt that is a number": (keys(STATED, prompts={"query": 5}), r"prompts\.query: expected text"),
    "an unknown similarity": (
        keys(STATED, similarity_fn_name="x"),
        "similarity_fn_name: expected 'cosine', 'dot', 'eucl",
    ),
    "no dimensions": (keys(STATED, truncate_dim=0), "truncate_dim: expected a number above 0"),
    "NaN": (weight(lambda matrix: matrix * torch.nan), "the embedding of a short text contains NaN or infinity"),
    "an index of weights": (content("model.safetensors.index.json", []), r"index\.json: expected an object"),
    "an adapter": (content("adapter_config.json", {"peft_type": "LORA"}), "base_model_name_or_path: expected a value"),
    "no base model": (
        content("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "/nowhere"}),
        r"adapter_config\.json: base_model_name_or_path: the folder /nowhere of the base model does not exist",
    ),
}


@pytest.mark.parametrize(("change", "problem"), CASES.values(), ids=CASES)
def test_a_wrong_file_is_refused_with_what_is_wrong(change, problem, model):
    change(model)
    with pytest.raises(ModelError, match=problem) as refused:
        Embedder.from_pretrained(str(model), device="cpu")
    assert refused.value.hint


def test_a_tokenizer_without_its_unknown_token_is_refused(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    keys("tokenizer.json", model=tokenizer["model"] | {"vocab": {}}, added_tokens=[])(model)
    with pytest.raises(ModelError, match=r"cannot tokenize a text: WordPiece error: Missing \[UNK\] token"):
        Embedder.from_pretrained(str(model), device="cpu")


@pytest.mark.parametrize("value", ["[]", "{", '{"version": "9.0"}'])
def test_a_wrong_tokenizer_is_refused_without_the_weights_too(value, model):
    (model / "tokenizer.json").write_text(value)
    with pytest.raises(ModelError, match="the files of the tokenizer cannot be read"):
        load_tokenizer(str(model))


def test_a_number_of_dimensions_above_that_of_the_model_keeps_all(model):
    keys(STATED, truncate_dim=9999)(model)
    assert Embedder.from_pretrained(str(model), device="cpu").encode(["river"]).shape == (1, 256)

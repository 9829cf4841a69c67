"""Checks of the base model of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedctl.config import TrainConfig, load
from embedctl.data.build import open_or_build
from embedctl.errors import ConfigError, ModelError
from embedctl.tokens.tokenize import tokenize
from embedctl.training.base_model import check_rows
from embedctl.training.job import TrainJob
from embedctl.training.worker import load_model, text_settings_of


def job(model: str, pooling: str) -> TrainJob:
    return TrainJob.from_config(load(TrainConfig, None, {"model_name_or_path": model, "pooling": pooling}))


def test_pooling_must_be_that_of_a_model_with_its_own(tiny_model):
    assert load_model(job(tiny_model, "mean"))[1].model[1].pooling_mode == "mean"
    with pytest.raises(ConfigError, match=r"--pooling cls: the model .* has its own pooling: mean"):
        load_model(job(tiny_model, "cls"))


def test_pooling_is_chosen_for_a_transformers_model(tiny_model, tmp_path):
    plain = shutil.copytree(tiny_model, tmp_path / "plain")
    (plain / "modules.json").unlink()
    assert load_model(job(str(plain), "cls"))[1].model[1].pooling_mode == "cls"


def shortened_copy(model: str, folder: Path, max_len: int) -> str:
    """Save a copy of a model whose own maximum length is `max_len`."""
    from sentence_transformers import SentenceTransformer

    copy = SentenceTransformer(model, device="cpu")
    copy.max_seq_length = max_len
    copy.save_pretrained(str(folder))
    return str(folder)


@pytest.mark.parametrize(
    ("flags", "own", "lengths", "kept"),
    [
        ({}, 512, (128, 512), 512),
        ({}, 24, (24, 24), 24),
        ({"passage_max_len": 40}, 24, (24, 40), 40),
        ({"query_max_len": 8, "passage_max_len": 12}, 24, (8, 12), 24),
    ],
)
def test_texts_are_truncated_as_by_sentence_transformers(flags, own, lengths, kept, tiny_model, tmp_path):
    """The lengths of a run default to the model's own, and the trained model keeps its own or gets the longer one."""
    folder = shortened_copy(tiny_model, tmp_path / "model", own)
    config = load(TrainConfig, None, {"model_name_or_path": folder, "passage_prompt": "p: ", **flags})
    resolved, embedder = load_model(TrainJob.from_config(config))
    assert (resolved.text.query_max_len, resolved.text.passage_max_len) == lengths
    assert resolved.settings["text"]["query_max_len"] == lengths[0]
    assert embedder.model.max_seq_length == embedder.max_len == kept
    settings = text_settings_of(resolved, embedder)
    text = "river stone cloud " * 300
    for length, marked in ((settings.query_max_len, text), (settings.passage_max_len, f"p: {text}")):
        embedder.model.max_seq_length = length
        expected = embedder.model.preprocess([marked])["input_ids"][0].tolist()
        assert tokenize(embedder.tokenizer, [marked], length).ids.tolist() == expected
        assert len(expected) == length


def test_layers_to_shard_must_be_those_of_the_model(tiny_model):
    flags = {"model_name_or_path": tiny_model, "fsdp_layers": ["BertLayer"]}
    load_model(TrainJob.from_config(load(TrainConfig, None, flags)))
    with pytest.raises(ConfigError, match=r"--fsdp-layers XLMRobertaLayer: .* has no layer of this class") as error:
        load_model(TrainJob.from_config(load(TrainConfig, None, flags | {"fsdp_layers": ["XLMRobertaLayer"]})))
    assert error.value.hint == "omit --fsdp-layers, or use BertEmbeddings or BertLayer"


def test_a_length_above_the_positions_is_refused(tiny_model):
    config = load(TrainConfig, None, {"model_name_or_path": tiny_model, "query_max_len": 513})
    with pytest.raises(ConfigError, match=r"--query-max-len 513: .* has positions for 512 tokens only"):
        load_model(TrainJob.from_config(config))


def test_a_row_with_a_token_that_the_model_does_not_have_is_named_before_the_first_step(tiny_model, tmp_path):
    """The tokenizer has more tokens than the embedding matrix has rows."""
    from transformers import AutoTokenizer

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["unknowable"])
    tokenizer.save_pretrained(folder)
    row = '{"query": "river", "pos": ["stone"]}\n'
    (tmp_path / "first.jsonl").write_text(row * 3)
    (tmp_path / "second.jsonl").write_text(
        f'{row}\n{row}{{"query": "cloud", "pos": ["stone", "an unknowable river"]}}\n'
    )
    files = [str(tmp_path / "first.jsonl"), str(tmp_path / "second.jsonl")]
    config = load(TrainConfig, None, {"model_name_or_path": str(folder), "dataset": files})
    resolved, embedder = load_model(TrainJob.from_config(config))
    data = open_or_build(files, embedder.tokenizer, text_settings_of(resolved, embedder), tmp_path / "stores")
    with pytest.raises(ModelError, match=r"second\.jsonl:4: a text has the token 'unknowable'"):
        check_rows(resolved, embedder, data)
    known = open_or_build(files[:1], embedder.tokenizer, text_settings_of(resolved, embedder), tmp_path / "stores")
    check_rows(resolved, embedder, known)

"""Maximum lengths: what models of several families state, defaults, refused values, and the exported files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Router, StaticEmbedding, Transformer

from embedctl.errors import ConfigError
from embedctl.model.embedder import Embedder
from embedctl.model.lengths import (
    UNLIMITED,
    LengthLimits,
    allow_length,
    choose_length,
    input_module,
    length_limits,
    read_length_limits,
)
from embedctl.model.loading import load_sentence_transformer, load_tokenizer
from embedctl.tokens.raw_text import RawTextTokenizer, mark, parse

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "bert": (transformers.BertConfig(**SMALL, vocab_size=3000, max_position_embeddings=64), 64),
    # the positions of the first two table rows are not used: 66 rows are 64 tokens
    "roberta": (transformers.RobertaConfig(**SMALL, vocab_size=3000, max_position_embeddings=66, pad_token_id=1), 64),
    "mpnet": (transformers.MPNetConfig(**SMALL, vocab_size=3000, max_position_embeddings=66, pad_token_id=1), 64),
    "distilbert": (
        transformers.DistilBertConfig(vocab_size=3000, dim=32, n_layers=1, n_heads=2, max_position_embeddings=48),
        48,
    ),
    "gpt2": (transformers.GPT2Config(vocab_size=3000, n_embd=32, n_layer=1, n_head=2, n_positions=40), 40),
    "t5": (transformers.T5Config(vocab_size=3000, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2), UNLIMITED),
    "xlnet": (transformers.XLNetConfig(vocab_size=3000, d_model=32, n_layer=1, n_head=2, d_inner=64), UNLIMITED),
    "modernbert": (
        transformers.ModernBertConfig(**SMALL, vocab_size=3000, max_position_embeddings=8192, pad_token_id=0),
        8192,
    ),
}


@pytest.fixture(params=CONFIGS)
def family(request, tiny_model, tmp_path) -> tuple[str, int]:
    """Return the folder of a small model whose tokenizer states no length, and its number of positions."""
    config, positions = CONFIGS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(tiny_model, model_max_length=10**30).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model"), positions


def test_the_positions_of_a_family_are_counted_and_can_all_be_used(family):
    folder, positions = family
    model = load_sentence_transformer(folder)
    for kind in ("query", "passage"):
        assert length_limits(model, kind) == LengthLimits(positions, positions)
    assert read_length_limits(folder, load_tokenizer(folder)) == dict.fromkeys(
        ("query", "passage"), LengthLimits(positions, positions)
    )
    length = min(positions, 600)
    ids = torch.full((1, length), 7)
    hidden = model[0].auto_model
    assert (hidden.encoder if hasattr(hidden, "decoder") else hidden)(ids).last_hidden_state.shape[1] == length


@pytest.mark.parametrize("stated", [None, 24])
def test_the_own_length_is_that_of_sentence_transformers(stated, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    if stated:
        config = json.loads((folder / "sentence_bert_config.json").read_text())
        (folder / "sentence_bert_config.json").write_text(json.dumps(config | {"max_seq_length": stated}))
    expected = SentenceTransformer(str(folder), device="cpu").max_seq_length
    assert expected == (stated or 512)
    assert length_limits(load_sentence_transformer(str(folder)), "query").own == expected
    assert read_length_limits(str(folder), load_tokenizer(str(folder)))["passage"].own == expected


def test_queries_and_passages_can_have_different_lengths(tiny_model, tmp_path):
    model = SentenceTransformer(tiny_model, device="cpu")
    model[0].query_length = 6
    model.save_pretrained(str(tmp_path / "model"))
    stated = read_length_limits(str(tmp_path / "model"), load_tokenizer(str(tmp_path / "model")))
    found = {kind: length_limits(model, kind).own for kind in stated}
    assert found == {kind: limits.own for kind, limits in stated.items()} == {"query": 6, "passage": 512}


def test_each_route_of_a_router_has_its_own_length(tiny_model):
    transformer = Transformer(tiny_model)
    tokenizer = transformer.tokenizer.backend_tokenizer
    routes = Router.for_query_document(
        [StaticEmbedding(tokenizer, embedding_dim=256)], [transformer, Pooling(transformer.get_embedding_dimension())]
    )
    model = SentenceTransformer(modules=[routes], device="cpu")
    assert length_limits(model, "query") == LengthLimits(None, module="StaticEmbedding")
    assert length_limits(model, "passage") == LengthLimits(512, 512)
    allow_length(model, "query", None)
    assert input_module(model, "passage") is transformer


@pytest.mark.parametrize(
    ("given", "limits", "query", "passage"),
    [
        (None, LengthLimits(512, 512), 128, 512),
        (None, LengthLimits(64, 512), 64, 64),
        (None, LengthLimits(8192, 8192), 128, 512),
        (None, LengthLimits(UNLIMITED), 128, 512),
        (None, LengthLimits(None), None, None),
        (300, LengthLimits(256, 512), 300, 300),
        (3000, LengthLimits(256), 3000, 3000),
    ],
)
def test_the_default_is_the_own_length_up_to_128_and_512(given, limits, query, passage):
    assert choose_length("query", given, limits, "m") == query
    assert choose_length("passage", given, limits, "m") == passage


def test_a_length_that_cannot_be_applied_is_refused():
    with pytest.raises(
        ConfigError, match="--passage-max-len 513: the model m has positions for 512 tokens only"
    ) as error:
        choose_length("passage", 513, LengthLimits(256, 512), "m")
    assert error.value.hint == "use --passage-max-len 512 or less"
    with pytest.raises(ConfigError, match="--query-max-len 8: the module StaticEmbedding of m does not truncate texts"):
        choose_length("query", 8, LengthLimits(None, module="StaticEmbedding"), "m")


def test_max_len_above_the_positions_is_refused(tiny_model):
    with pytest.raises(ConfigError, match=r"--max-len 513: the model .* has positions for 512 tokens only"):
        Embedder.from_pretrained(tiny_model, device="cpu", max_len=513)


@pytest.mark.parametrize(("length", "stored"), [(24, 512), (512, 512)])
def test_a_run_raises_the_length_of_the_model_and_never_lowers_it(length, stored, tiny_model):
    model = SentenceTransformer(tiny_model, device="cpu")
    allow_length(model, "query", length)
    assert model.max_seq_length == stored
    model.max_seq_length = 20
    allow_length(model, "query", length)
    assert model.max_seq_length == length


def test_a_saved_model_states_its_own_length_and_no_truncation(tiny_model, tmp_path):
    model = SentenceTransformer(tiny_model, device="cpu")
    model.max_seq_length = 100
    model.save_pretrained(str(tmp_path / "base"))
    embedder = Embedder.from_pretrained(str(tmp_path / "base"), device="cpu")
    embedder.model.tokenizer.init_kwargs["max_length"] = 128  # transformers sets it from the truncation in a file
    embedder.model.tokenizer(["river stone"], truncation=True, max_length=4, padding="max_length")
    embedder.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text(encoding="utf-8"))
    assert (saved["truncation"], saved["padding"]) == (None, None)
    stated = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert (stated["model_max_length"], stated.get("max_length")) == (100, None)
    assert json.loads((tmp_path / "saved" / "sentence_bert_config.json").read_text())["max_seq_length"] == 100
    reloaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert reloaded.max_seq_length == 100
    text = "river stone " * 100
    np.testing.assert_allclose(reloaded.encode([text]), model.encode([text]), atol=1e-5)


@pytest.mark.parametrize("max_len", [None, 5])
def test_sentence_transformers_own_forward_pass_truncates_to_the_given_length(max_len, tiny_model):
    """With a given length, queries and passages are those of a model that states this length."""
    model = SentenceTransformer(tiny_model, device="cpu")
    model[0].query_length = 7
    embedder = Embedder(model).eval()
    embedder.uses_own_forward = True
    if max_len:
        embedder.set_max_len(max_len, "m")
    reference = SentenceTransformer(tiny_model, device="cpu")
    texts = ["river stone cloud engine market theory castle signal harbor", "alpha"]
    for kind, encode in (("query", embedder.encode_queries), ("passage", embedder.encode_passages)):
        reference.max_seq_length = max_len or (7 if kind == "query" else 512)
        np.testing.assert_allclose(encode(texts), reference.encode(texts, normalize_embeddings=True), atol=1e-5)


def test_raw_texts_keep_their_length():
    tokenizer = RawTextTokenizer()
    ids = tokenizer([mark("query", "find: ") + "text"], truncation=True, max_length=12)["input_ids"][0]
    assert parse(np.array(ids)) == ("query", "find: ", "text", 12)
    ids = tokenizer(["text"], truncation=True, max_length=UNLIMITED)["input_ids"][0]
    assert parse(np.array(ids)) == (None, "", "text", None)


def test_the_folder_of_minilm_states_256_tokens_and_512_positions(minilm):
    expected = LengthLimits(SentenceTransformer(minilm, device="cpu").max_seq_length, 512)
    assert expected.own == 256
    assert length_limits(load_sentence_transformer(minilm), "passage") == expected
    assert read_length_limits(minilm, load_tokenizer(minilm))["passage"] == expected
    assert Path(minilm, "sentence_bert_config.json").exists()

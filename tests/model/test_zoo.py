"""Small models of many families: embeddings, gradients of a training step, exports and LoRA, as sentence-transformers.

The models have random weights and no dropout. Their tokenizer is that of the built-in model, with the padding side and
the pooling that the family is used with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from embedctl.config import TrainConfig, TuneSection, load
from embedctl.data.build import open_or_build
from embedctl.errors import ConfigError, ModelError
from embedctl.losses.matryoshka import check_dims
from embedctl.losses.select import losses_for
from embedctl.model.adapters import merge_adapters
from embedctl.model.embedder import Embedder
from embedctl.model.tuning import add_adapters
from embedctl.training.batch_loader import BatchLoader
from embedctl.training.gradcache import GradCache
from embedctl.training.job import TrainJob
from embedctl.training.runtime import init_runtime
from embedctl.training.session import Session
from embedctl.training.worker import load_model, plan_batches, text_settings_of

WIDTH, VOCABULARY, MAX_LEN, TEMPERATURE = 32, 8000, 48, 0.05
BERT = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
BERT |= {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 0}
DECODER = BERT | {"num_key_value_heads": 2, "head_dim": 8}
QKV, GATED = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
QUERIES = ["where is the river", "学习 天气", "which castle has a market " * 12, "signal [PAD] of [PAD][PAD] rivers"]
PASSAGES = ["river stone cloud", "", "the theory of the signal " * 30, "engine"]
ROWS = [("where is the river", "river stone"), ("学习 天气", "weather " * 60), ("signal " * 9, "theory of signals")]


class Family(NamedTuple):
    """How models of a family are built and used."""

    config: Callable[[], transformers.PretrainedConfig]
    pooling: str
    adapted: set[str]  # names of the layers that get LoRA adapters by default
    # Whether texts are padded on the left. GPT-2's absolute positions count the padding then, so that an embedding by
    # sentence-transformers depends on the other texts of the batch.
    left: bool = False


def without_dropout(config: transformers.PretrainedConfig) -> transformers.PretrainedConfig:
    for name, value in config.to_dict().items():
        if ("drop" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


FAMILIES = {
    "BERT": Family(lambda: transformers.BertConfig(**BERT), "mean", {"query", "key", "value", "dense"}),
    "RoBERTa": Family(lambda: transformers.RobertaConfig(**BERT), "cls", {"query", "key", "value", "dense"}),
    "XLM-RoBERTa": Family(lambda: transformers.XLMRobertaConfig(**BERT), "mean", {"query", "key", "value", "dense"}),
    "DistilBERT": Family(
        lambda: transformers.DistilBertConfig(
            vocab_size=VOCABULARY, dim=WIDTH, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
        ),
        "mean",
        {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"},
    ),
    "MPNet": Family(lambda: transformers.MPNetConfig(**BERT), "mean", {"q", "k", "v", "o", "dense"}),
    "ELECTRA": Family(
        lambda: transformers.ElectraConfig(**BERT, embedding_size=16),
        "cls",
        {"query", "key", "value", "dense", "embeddings_project"},
    ),
    "DeBERTa-v2": Family(
        lambda: transformers.DebertaV2Config(**BERT, relative_attention=True, pos_att_type=["p2c", "c2p"]),
        "mean",
        {"query_proj", "key_proj", "value_proj", "pos_query_proj", "pos_key_proj", "dense"},
    ),
    "ModernBERT": Family(
        lambda: transformers.ModernBertConfig(**BERT, local_attention=8, global_attn_every_n_layers=2),
        "cls",
        {"Wqkv", "Wo", "Wi"},
    ),
    "ALBERT": Family(
        lambda: transformers.AlbertConfig(**BERT, embedding_size=16),
        "mean",
        {"query", "key", "value", "dense", "ffn", "ffn_output", "embedding_hidden_mapping_in"},
    ),
    "XLNet": Family(
        lambda: transformers.XLNetConfig(vocab_size=VOCABULARY, d_model=WIDTH, n_layer=2, n_head=4, d_inner=64),
        "mean",
        {"layer_1", "layer_2"},
    ),
    "T5": Family(
        lambda: transformers.T5Config(
            vocab_size=VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0
        ),
        "mean",
        {"q", "k", "v", "o", "wi", "wo"},
    ),
    "GPT-2": Family(
        lambda: transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=64),
        "lasttoken",
        {"c_attn", "c_proj", "c_fc"},
    ),
    "Llama": Family(lambda: transformers.LlamaConfig(**DECODER), "mean", QKV | GATED),
    "Mistral": Family(lambda: transformers.MistralConfig(**DECODER), "lasttoken", QKV | GATED, left=True),
    "Qwen2": Family(
        lambda: transformers.Qwen2Config(**{k: v for k, v in DECODER.items() if k != "head_dim"}),
        "lasttoken",
        QKV | GATED,
    ),
    "Qwen3": Family(lambda: transformers.Qwen3Config(**DECODER), "lasttoken", QKV | GATED, left=True),
    "Gemma 3": Family(lambda: transformers.Gemma3TextConfig(**DECODER), "mean", QKV | GATED),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(family: str, tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a model of the family, with prompts for queries and passages."""
    plain, saved = (str(tmp_path_factory.mktemp("zoo") / name) for name in ("plain", "saved"))
    found = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(without_dropout(found.config()))
        with torch.no_grad():  # larger weights than at initialization, so that embeddings of texts differ
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight), alpha=0.1)
    model.save_pretrained(plain)
    side = "left" if found.left else "right"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model, padding_side=side, model_max_length=MAX_LEN)
    tokenizer.save_pretrained(plain)
    modules = [Transformer(plain), Pooling(WIDTH, found.pooling), Normalize()]
    prompts = {"query": "search for: ", "document": "text: "}
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save_pretrained(saved, create_model_card=False)
    return saved


def assert_equal_embeddings(folder: str, other: str | None = None) -> None:
    """Check that embedctl's embeddings of a model equal sentence-transformers', of the same or another folder."""
    embedder = Embedder.from_pretrained(folder, device="cpu")
    model = SentenceTransformer(other or folder, device="cpu")
    np.testing.assert_allclose(embedder.encode_queries(QUERIES), model.encode_query(QUERIES), atol=1e-5)
    np.testing.assert_allclose(embedder.encode_passages(PASSAGES), model.encode_document(PASSAGES), atol=1e-5)


def test_embeddings_are_those_of_sentence_transformers(folder):
    assert_equal_embeddings(folder)
    vectors = SentenceTransformer(folder, device="cpu").encode_query(QUERIES)
    assert (vectors @ vectors.T - np.eye(len(QUERIES))).max() < 0.9999  # the model distinguishes the texts


def test_packed_texts_have_the_same_embeddings(folder):
    """Also for a text that contains the padding token. Where packing is not possible, texts are padded."""
    embedder = Embedder.from_pretrained(folder, device="cpu", attention="packed")
    model = SentenceTransformer(folder, device="cpu")
    np.testing.assert_allclose(embedder.encode_queries(QUERIES), model.encode_query(QUERIES), atol=1e-4)


def test_a_token_without_a_row_in_the_embedding_matrix_is_refused(tiny_model, tmp_path):
    """A tokenizer may have more tokens than the matrix has rows; texts without such tokens are encoded."""
    model = SentenceTransformer(tiny_model, device="cpu")
    model.tokenizer.add_tokens(["unknowable"])
    model.save_pretrained(str(tmp_path / "model"))
    embedder = Embedder.from_pretrained(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(embedder.encode(PASSAGES), model.encode(PASSAGES), atol=1e-5)
    with pytest.raises(ModelError, match=r"the token 'unknowable' .* but the embedding matrix of the model has"):
        embedder.encode(["an unknowable river"])
    embedder.tokenizer.pad_token = "unknowable"  # texts of different lengths are padded with it
    with pytest.raises(ModelError, match="the token 'unknowable'"):
        embedder.encode(PASSAGES)


def loss_of_sentence_transformers(model: SentenceTransformer) -> torch.Tensor:
    """Return InfoNCE over in-batch negatives (van den Oord et al., 2018), computed with the model's own forward."""
    queries, passages = (list(texts) for texts in zip(*ROWS, strict=True))
    vectors = []
    for texts, task in ((queries, "query"), (passages, "document")):
        features = model.preprocess([model.prompts[task] + text for text in texts])
        vectors.append(torch.nn.functional.normalize(model(features)["sentence_embedding"], dim=-1))
    scores = vectors[0] @ vectors[1].T / TEMPERATURE
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(ROWS)))


@pytest.mark.parametrize("chunk_tokens", [100_000, 8])
def test_a_step_has_the_gradients_of_sentence_transformers_and_the_export_its_embeddings(
    folder, chunk_tokens, tmp_path
):
    """With few tokens per forward pass, the gradients are those of cached embeddings (GradCache)."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"query": query, "pos": [text]}) + "\n" for query, text in ROWS))
    flags: dict[str, Any] = {"model_name_or_path": folder, "dataset": [str(rows)], "batch_size": len(ROWS), "cpu": True}
    flags |= {"temperature": TEMPERATURE, "tokens_per_forward": chunk_tokens, "output_dir": str(tmp_path / "out")}
    job, embedder = load_model(TrainJob.from_config(load(TrainConfig, None, flags)))
    data = open_or_build([str(rows)], embedder.tokenizer, text_settings_of(job, embedder), tmp_path / "cache")
    session = Session.prepare(embedder, init_runtime(job), job)
    plan = plan_batches(job, data, len(ROWS))
    batch = BatchLoader(session, plan, data.texts, job.loss.in_batch).prepare(0, 0)
    loss = GradCache(session, losses_for(job.loss), 0)(batch, 0)

    model = SentenceTransformer(folder, device="cpu").train()
    expected = loss_of_sentence_transformers(model)
    expected.backward()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-4)
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    found = {name: weight.grad for name, weight in embedder.model.named_parameters() if weight.requires_grad}
    assert gradients.keys() >= found.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        actual = found.get(name, torch.zeros_like(gradient))  # None: the embeddings do not depend on the weight
        torch.testing.assert_close(
            actual, gradient, rtol=1e-3, atol=1e-5 * largest, msg=lambda text, n=name: f"{n}: {text}"
        )

    for group in session.optimizer.param_groups:
        group["lr"] = 1e-2
    session.optimizer_step(1.0)
    exported = str(tmp_path / "exported")
    trained = session.export_model()
    assert trained is not None
    trained.save(exported)
    assert_equal_embeddings(exported)
    before, after = (SentenceTransformer(path, device="cpu").encode_query(QUERIES) for path in (folder, exported))
    assert (before * after).sum(axis=1).min() < 0.9999
    assert not list(Path(exported).glob("*.bin"))


def test_lora_adapts_the_layers_of_the_family_and_is_merged_into_the_export(folder, family, tmp_path):
    embedder = Embedder.from_pretrained(folder, device="cpu")
    add_adapters(embedder, TuneSection(lora_rank=2))
    adapters = [name for name, weight in embedder.named_parameters() if weight.requires_grad]
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in adapters} == FAMILIES[family].adapted
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in embedder.named_parameters():
            if name in adapters:
                weight.add_(torch.randn_like(weight), alpha=0.1)
    embedder.encode_queries(QUERIES)
    tokens = embedder.model.preprocess(QUERIES)
    embedder.model.train()(tokens)["sentence_embedding"].square()[:, ::2].sum().backward()
    gradients = {name: weight.grad for name, weight in embedder.named_parameters() if name in adapters}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
    adapted = embedder.eval().encode_queries(QUERIES)
    merge_adapters(embedder)
    embedder.save(str(tmp_path / "merged"))
    merged = SentenceTransformer(str(tmp_path / "merged"), device="cpu").encode_query(QUERIES)
    np.testing.assert_allclose(merged, adapted, atol=1e-5)
    base = SentenceTransformer(folder, device="cpu").encode_query(QUERIES)
    assert np.abs(merged - base).max() > 1e-3


def test_lora_layers_that_the_model_does_not_have_are_refused(folder, family):
    embedder = Embedder.from_pretrained(folder, device="cpu")
    with pytest.raises(ConfigError, match="--lora-target-modules nowhere: the model has no linear layer") as error:
        add_adapters(embedder, TuneSection(lora_rank=2, lora_target_modules=("nowhere",)))
    name = min(FAMILIES[family].adapted)
    assert name in (error.value.hint or "")
    add_adapters(embedder, TuneSection(lora_rank=2, lora_target_modules=(name,)))
    adapters = [layer for layer, weight in embedder.named_parameters() if weight.requires_grad]
    assert {layer.split(".lora_")[0].rpartition(".")[2] for layer in adapters} == {name}


def test_matryoshka_dimensions_above_the_width_are_refused(folder):
    with pytest.raises(ConfigError, match=f"--mrl-dims.*{WIDTH}"):
        check_dims((WIDTH + 1,), Embedder.from_pretrained(folder, device="cpu").dimension)

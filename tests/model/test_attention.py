"""Packed and padded batches give the same vectors and gradients, for every family of models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from embedctl.model.embedder import Embedder
from embedctl.tokens.packing import Ragged

SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 100}


def bert():
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**SIZE, max_position_embeddings=64)), "mean"


def xlm_roberta():
    from transformers import XLMRobertaConfig, XLMRobertaModel

    return XLMRobertaModel(XLMRobertaConfig(**SIZE, max_position_embeddings=66, pad_token_id=1)), "cls"


def modernbert():
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        **SIZE, max_position_embeddings=64, local_attention=8, global_attn_every_n_layers=3, pad_token_id=0
    )
    return ModernBertModel(config), "mean"


def qwen3():
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=8, max_position_embeddings=64)), "lasttoken"


def mistral_sliding():
    from transformers import MistralConfig, MistralModel

    return MistralModel(
        MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=5, max_position_embeddings=64)
    ), "lasttoken"


def gemma3():
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(**SIZE, num_key_value_heads=1, head_dim=8, sliding_window=6, max_position_embeddings=64)
    return Gemma3TextModel(config), "mean"


def gemma3_bidirectional():
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(
        **SIZE,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=6,
        max_position_embeddings=64,
        use_bidirectional_attention=True,
    )
    return Gemma3TextModel(config), "mean"


def gemma2():
    from transformers import Gemma2Config, Gemma2Model

    config = Gemma2Config(
        **SIZE, num_key_value_heads=1, head_dim=8, max_position_embeddings=64, attn_logit_softcapping=0.05
    )
    return Gemma2Model(config), "mean"


def fnet():
    from transformers import FNetConfig, FNetModel

    return FNetModel(FNetConfig(**SIZE, max_position_embeddings=64)), "mean"


FAMILIES = [bert, xlm_roberta, modernbert, qwen3, mistral_sliding, gemma3, gemma3_bidirectional]


class Backbone(nn.Module):
    """Stands in for sentence-transformers' transformer module, which wants a tokenizer's files."""

    def __init__(self, model):
        super().__init__()
        self.auto_model = model
        self.max_seq_length = 64


class Tokenizer:
    pad_token_id, model_max_length = 0, 64


def embedder(family) -> Embedder:
    torch.manual_seed(0)
    model, pooling = family()
    return Embedder(SentenceTransformer(modules=[Backbone(model.double().eval()), Pooling(32, pooling)], device="cpu"))


@pytest.fixture
def with_tokenizer(monkeypatch):
    monkeypatch.setattr(Embedder, "tokenizer", Tokenizer())


def texts(seed: int) -> Ragged:
    draw = np.random.default_rng(seed)
    lengths = np.array([1, 17, 5, 30, 2, 12])
    return Ragged(draw.integers(5, 100, lengths.sum()).astype(np.int32), lengths)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("with_tokenizer")
def test_packed_equals_padded(family):
    made, results = embedder(family), []
    for packed in (False, True):
        made.set_packed(packed)
        made.zero_grad(set_to_none=True)
        vectors = made(made.features(texts(1)))
        (vectors * torch.linspace(-1, 1, vectors.numel()).reshape(vectors.shape)).sum().backward()
        gradients = {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}
        results.append((vectors.detach(), gradients))
    (padded, padded_gradients), (packed, packed_gradients) = results
    assert float((padded - packed).abs().max()) < 1e-6
    assert padded_gradients.keys() == packed_gradients.keys()
    for name, gradient in padded_gradients.items():
        assert float((gradient - packed_gradients[name]).abs().max()) < 1e-5 * max(1.0, float(gradient.abs().max())), (
            name
        )


@pytest.mark.usefixtures("with_tokenizer")
def test_neighbours_in_a_pack_do_not_see_each_other():
    made = embedder(qwen3)
    made.set_packed(True)
    together = made(made.features(texts(2)))
    alone = torch.cat([made(made.features(texts(2).take(np.array([row])))) for row in range(6)])
    assert float((together - alone).detach().abs().max()) < 1e-10


@pytest.mark.parametrize("family", [gemma2, fnet])
@pytest.mark.usefixtures("with_tokenizer")
def test_a_model_that_can_not_be_packed_gets_its_own_attention_back(family):
    """Both come with "eager": SDPA would leave out Gemma's soft cap, and FNet refuses it."""
    made = embedder(family)
    own = made.backbone.config._attn_implementation
    before = made(made.features(texts(3)))
    for packed in (True, False):
        made.set_packed(packed)
    assert made.backbone.config._attn_implementation == own == "eager"
    assert torch.equal(made(made.features(texts(3))), before)

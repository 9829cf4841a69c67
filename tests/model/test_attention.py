"""Tests that packed and padded texts give the same vectors and gradients, for each model architecture."""

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


ARCHITECTURES = [bert, xlm_roberta, modernbert, qwen3, mistral_sliding, gemma3, gemma3_bidirectional]


class Backbone(nn.Module):
    """A replacement of sentence-transformers' transformer module, which requires the files of a tokenizer."""

    def __init__(self, model):
        super().__init__()
        self.auto_model = model
        self.max_seq_length = 64


class Tokenizer:
    pad_token_id, model_max_length = 0, 64


def embedder(architecture) -> Embedder:
    torch.manual_seed(0)
    model, pooling = architecture()
    return Embedder(SentenceTransformer(modules=[Backbone(model.double().eval()), Pooling(32, pooling)], device="cpu"))


@pytest.fixture
def with_tokenizer(monkeypatch):
    monkeypatch.setattr(Embedder, "tokenizer", Tokenizer())


def texts(seed: int) -> Ragged:
    generator = np.random.default_rng(seed)
    lengths = np.array([1, 17, 5, 30, 2, 12])
    return Ragged(generator.integers(5, 100, lengths.sum()).astype(np.int32), lengths)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.usefixtures("with_tokenizer")
def test_packed_equals_padded(architecture):
    model, results = embedder(architecture), []
    for packed in (False, True):
        model.set_packed(packed)
        model.zero_grad(set_to_none=True)
        vectors = model(model.features(texts(1)))
        (vectors * torch.linspace(-1, 1, vectors.numel()).reshape(vectors.shape)).sum().backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        results.append((vectors.detach(), gradients))
    (padded, padded_gradients), (packed, packed_gradients) = results
    assert float((padded - packed).abs().max()) < 1e-6
    assert padded_gradients.keys() == packed_gradients.keys()
    for name, gradient in padded_gradients.items():
        assert float((gradient - packed_gradients[name]).abs().max()) < 1e-5 * max(1.0, float(gradient.abs().max())), (
            name
        )


@pytest.mark.usefixtures("with_tokenizer")
def test_packed_texts_do_not_attend_to_each_other():
    model = embedder(qwen3)
    model.set_packed(True)
    packed = model(model.features(texts(2)))
    separate = torch.cat([model(model.features(texts(2).take(np.array([index])))) for index in range(6)])
    assert float((packed - separate).detach().abs().max()) < 1e-10


@pytest.mark.parametrize("architecture", [gemma2, fnet])
@pytest.mark.usefixtures("with_tokenizer")
def test_a_model_without_support_for_packing_gets_its_original_attention_back(architecture):
    """Both models use "eager": SDPA would ignore the soft-capping of Gemma, and FNet does not support SDPA."""
    model = embedder(architecture)
    original = model.backbone.config._attn_implementation
    before = model(model.features(texts(3)))
    for packed in (True, False):
        model.set_packed(packed)
    assert model.backbone.config._attn_implementation == original == "eager"
    assert torch.equal(model(model.features(texts(3))), before)

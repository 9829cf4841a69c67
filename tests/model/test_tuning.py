"""Tests of LoRA, frozen weights, gradient checkpointing and master weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from embedctl.config import TuneSection
from embedctl.errors import ConfigError
from embedctl.model.adapters import merge_adapters
from embedctl.model.embedder import Embedder
from embedctl.model.tuning import (
    MasterWeights,
    adapter_targets,
    add_adapters,
    enable_gradient_checkpointing,
    freeze_unused,
)
from embedctl.tokens.tokenize import tokenize

TEXTS = ["river stone cloud", "学习 天气", "engine market theory castle signal"]


@pytest.fixture
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


def gradients(embedder: Embedder) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    embedder.zero_grad(set_to_none=True)
    vectors = embedder.train()(embedder.features(tokenize(embedder.tokenizer, TEXTS, 64)))
    (vectors * torch.linspace(-1, 1, vectors.numel()).reshape(vectors.shape)).sum().backward()
    return {name: weight.grad.clone() for name, weight in embedder.named_parameters() if weight.grad is not None}


def test_weights_that_vectors_do_not_depend_on_are_frozen(embedder):
    frozen = freeze_unused(embedder)
    assert frozen
    assert all("pooler" in name for name in frozen)
    assert gradients(embedder).keys() == {name for name, weight in embedder.named_parameters() if weight.requires_grad}


def test_gradient_checkpointing_uses_the_same_dropout(embedder):
    expected = gradients(embedder)
    enable_gradient_checkpointing(embedder)
    found = gradients(embedder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_adapters_do_not_change_vectors_at_first_and_are_merged_into_the_weights(embedder):
    before = embedder.eval().encode(TEXTS)
    names = set(embedder.state_dict())
    add_adapters(embedder, TuneSection(lora_rank=2))
    assert np.abs(embedder.eval().encode(TEXTS) - before).max() < 1e-6
    trained = [(name, weight) for name, weight in embedder.named_parameters() if weight.requires_grad]
    assert all("lora_" in name for name, _ in trained)
    with torch.no_grad():
        for _, weight in trained:
            weight.add_(torch.randn_like(weight), alpha=0.1)
    adapted = embedder.eval().encode(TEXTS)
    merge_adapters(embedder)
    assert set(embedder.state_dict()) == names
    assert np.abs(embedder.encode(TEXTS) - adapted).max() < 1e-5
    assert np.abs(adapted - before).max() > 1e-3


def test_master_weights_accumulate_gradients_in_float32(embedder):
    freeze_unused(embedder)
    reference = gradients(copy.deepcopy(embedder).eval().to(torch.bfloat16))
    masters = MasterWeights(embedder.eval(), torch.bfloat16)
    gradients(embedder)
    gradients(embedder)
    for name, master in masters.model.named_parameters():
        if master.requires_grad:
            assert master.grad.dtype == torch.float32
            assert torch.allclose(master.grad, 2 * reference[name].float(), rtol=1e-2, atol=1e-3), name


def test_copy_to_model_rounds_the_master_weights(embedder):
    masters = MasterWeights(embedder, torch.bfloat16)
    with torch.no_grad():
        for master in masters.model.parameters():
            master.add_(0.01)
    masters.copy_to_model()
    for weight, master in zip(embedder.parameters(), masters.model.parameters(), strict=True):
        assert torch.equal(weight, master.bfloat16())


def test_layers_that_get_adapters():
    """GPT-2's projections are Conv1D; named layers override the choice, and unknown names are errors."""
    from transformers import GPT2Config, GPT2Model

    model = GPT2Model(GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2, n_positions=8))
    attention, mlp = ["h.0.attn.c_attn", "h.0.attn.c_proj"], ["h.0.mlp.c_fc", "h.0.mlp.c_proj"]
    assert adapter_targets(model, ()) == attention + mlp
    assert adapter_targets(model, ("attn.c_proj", "c_fc")) == ["h.0.attn.c_proj", "h.0.mlp.c_fc"]
    with pytest.raises(ConfigError, match="--lora-target-modules query: the model has no linear layer"):
        adapter_targets(model, ("query",))
    with pytest.raises(ConfigError, match="--lora-rank: the model has no linear layers"):
        adapter_targets(torch.nn.Embedding(2, 2), ())

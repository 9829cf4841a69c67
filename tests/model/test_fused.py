"""Fused sublayers against the modules that they stand in for; on the CPU through Triton's interpreter."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from embedctl.model import fused
from embedctl.model.fused import _gelu_of_product, fuse, unfuse

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 160}


def small(dropout: float = 0.0, kind: str = "bert") -> torch.nn.Module:
    config_of, model_of = {"bert": (BertConfig, BertModel), "xlm-r": (XLMRobertaConfig, XLMRobertaModel)}[kind]
    config = config_of(vocab_size=50, hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0, **SIZES)
    torch.manual_seed(0)
    model = model_of(config, add_pooling_layer=False).train()
    for name, weight in model.named_parameters():  # biases and norms begin at 0 and 1, which would hide mistakes
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=float("LayerNorm.weight" in name), std=0.3)
    return model


@pytest.mark.parametrize("kind", ["bert", "xlm-r"])
def test_what_can_be_fused_is_found_and_left_again(kind: str):
    model = small(kind=kind)
    assert fuse(model) == 8  # self-attention, its output, intermediate and output of each of two layers
    assert copy.deepcopy(model).encoder.layer[0].output.forward.__self__ is not model.encoder.layer[0].output
    unfuse(model)
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_another_activation_is_left_alone():
    model = BertModel(BertConfig(vocab_size=50, hidden_act="relu", **SIZES))
    assert fuse(model) == 6


def test_projections_are_those_of_the_modules():
    """In float64, on any machine: vectors, and the gradients of the input and of all weights."""
    attention = small().double().encoder.layer[0].attention.self
    attention.config._attn_implementation = "sdpa"
    hidden = torch.randn(2, 7, 48, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 7, 48, dtype=torch.float64)
    found = []
    for shared in (False, True):
        if shared:
            assert fuse(attention) == 1
        attention.zero_grad()
        hidden.grad = None
        output = attention(hidden, attention_mask=None)[0]
        (output * weight).sum().backward()
        found.append([output.detach(), hidden.grad, *(part.grad.clone() for part in attention.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_activation_within_the_product_is_as_near_as_its_rounding():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(2)
    dense = torch.nn.Linear(32, 64).to(device)
    x = 3 * torch.randn(2, 50, 32, device=device)
    half = copy.deepcopy(dense).bfloat16()
    product = half(x.bfloat16()).float()
    with torch.no_grad():
        found = _gelu_of_product(half, x.bfloat16()).float()
    exact = torch.nn.functional.gelu(product)
    assert found.shape == exact.shape
    # half a unit of bfloat16's eight bits before GELU, the same after it, and what the tanh form may differ by
    assert ((found - exact).abs() <= 2**-7 * product.abs() + 5e-4).all()


@pytest.mark.parametrize(("kind", "training", "within"), [
    (torch.bfloat16, False, True), (torch.bfloat16, True, False),
    (torch.float16, False, False), (torch.float32, False, False),
])  # fmt: skip
def test_only_bfloat16_vectors_take_the_activation_within_the_product(monkeypatch, kind, training, within):
    layer = small().encoder.layer[0].intermediate.to(kind).train(training)
    fuse(layer)
    called = []
    monkeypatch.setattr(fused, "_gelu_of_product", lambda dense, x: called.append(dense) or dense(x))
    with torch.no_grad():
        layer(torch.randn(1, 3, 48, dtype=kind))
    assert bool(called) is within


def kernels_here() -> torch.device:
    """Where the kernels run: a GPU, or the CPU through Triton's interpreter (TRITON_INTERPRET=1)."""
    pytest.importorskip("triton")
    import os

    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU, and TRITON_INTERPRET=1 is not set")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gradients(
    model: torch.nn.Module, ids: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    hidden = model(input_ids=ids).last_hidden_state
    model.zero_grad()
    (hidden * weight).sum().backward()
    return hidden.detach(), [part.grad.clone() for part in model.parameters()]


def test_vectors_and_gradients_are_those_of_the_modules():
    device = kernels_here()
    model = small().to(device)
    ids = torch.randint(0, 50, (3, 7), device=device)
    weight = torch.randn(3, 7, 48, device=device)
    plain, plain_grads = gradients(model, ids, weight)
    fuse(model)
    fused, fused_grads = gradients(model, ids, weight)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(fused_grads, plain_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, plain, rtol=1e-4, atol=1e-5)


def test_dropout_is_the_same_forth_and_back_and_follows_the_seed():
    """The kernel's gradient of its input against differences of its output, for one drawn mask."""
    device = kernels_here()
    from embedctl.model.kernels import dropout_add_norm

    torch.manual_seed(1)
    z, residual, weight = (torch.randn(5, 48, device=device) for _ in range(3))
    bias, beta, gamma = torch.zeros(48, device=device), torch.zeros(48, device=device), torch.ones(48, device=device)

    def run(z: torch.Tensor, seed: int = 3) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout_add_norm(z, residual, bias, gamma, beta, p=0.5, eps=1e-5)

    z.requires_grad_()
    (run(z) * weight).sum().backward()
    dropped = z.grad == 0
    assert 0.3 < float(dropped.float().mean()) < 0.7
    direction = torch.randn_like(z)
    step = 1e-2
    with torch.no_grad():
        difference = ((run(z + step * direction) - run(z - step * direction)) * weight).sum() / (2 * step)
    torch.testing.assert_close(difference, (z.grad * direction).sum(), rtol=2e-2, atol=2e-2)
    assert torch.equal(run(z), run(z))
    assert not torch.equal(run(z), run(z, seed=4))

"""Fused sublayers against the modules that they stand in for; on the CPU through Triton's interpreter."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from subprocess import CalledProcessError
from types import SimpleNamespace

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


def test_modules_are_fused_after_transformers_has_put_its_hooks_on_them():
    model = small()
    model(input_ids=torch.ones(1, 3, dtype=torch.long), output_hidden_states=True, output_attentions=True)
    assert any(module._forward_hooks for module in model.modules())
    assert (fuse(model), fuse(model)) == (8, 8)


def test_another_activation_is_left_alone():
    model = BertModel(BertConfig(vocab_size=50, hidden_act="relu", **SIZES))
    assert fuse(model) == 6


def one_more_parameter(module: torch.nn.Module) -> None:
    class Newer(type(module)):
        def forward(self, hidden_states, input_tensor, scale=1.0):
            raise NotImplementedError

    module.__class__ = Newer


CHANGES = {
    "a hook": lambda module: module.dense.register_forward_hook(lambda *_: None),
    "a patched layer": lambda module: setattr(module.dense, "forward", torch.relu),
    "no bias": lambda module: setattr(module, "dense", torch.nn.Linear(160, 48, bias=False)),
    "another linear layer": lambda module: setattr(module, "dense", torch.nn.LazyLinear(48)),
    "another norm": lambda module: setattr(module, "LayerNorm", torch.nn.RMSNorm(48)),
    "a norm without a bias": lambda module: setattr(module, "LayerNorm", torch.nn.LayerNorm(48, bias=False)),
    "another dropout": lambda module: setattr(module, "dropout", torch.nn.Identity()),
    "one child more": lambda module: setattr(module, "adapter", torch.nn.Identity()),
    "one child fewer": lambda module: delattr(module, "dropout"),
    "one parameter more": one_more_parameter,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_module_that_differs_in_anything_is_left_alone(change: str):
    model = small()
    CHANGES[change](model.encoder.layer[1].output)
    assert fuse(model) == 7
    assert "forward" not in vars(model.encoder.layer[1].output)


@pytest.mark.parametrize("name", ["config", "scaling", "attention_head_size"])
def test_attention_without_what_the_fused_form_reads_is_left_alone(name: str):
    model = small()
    delattr(model.encoder.layer[0].attention.self, name)
    assert fuse(model) == 7


def test_a_forward_that_somebody_else_has_put_there_stays():
    model = small()
    theirs = model.encoder.layer[0].output.forward = lambda hidden, residual: residual
    assert fuse(model) == 7
    unfuse(model)
    assert [vars(module)["forward"] for module in model.modules() if "forward" in vars(module)] == [theirs]


@pytest.fixture
def machine(monkeypatch) -> Callable[[Exception | None], bool]:
    """Says whether the kernels are available on a machine on which trying them raises this."""

    class TritonError(Exception):
        pass

    def ask(fault: Exception | None) -> bool:
        def kernel(*_given, **_named):
            if fault is not None:
                raise TritonError(str(fault)) if fault.args == ("of Triton",) else fault

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch, "ones", lambda *_given, **_named: [None])
        monkeypatch.setattr(fused, "find_spec", lambda name: name)
        monkeypatch.setitem(sys.modules, "triton", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "triton.errors", SimpleNamespace(TritonError=TritonError))
        monkeypatch.setitem(sys.modules, "embedctl.model.kernels", SimpleNamespace(dropout_add_norm=kernel))
        return fused.available.__wrapped__()

    return ask


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("no C compiler\nand more"),
        CalledProcessError(1, "gcc"),
        PermissionError(13, "denied"),
        ImportError("libtriton.so"),
        AssertionError("libcuda.so can not be found"),
        Exception("of Triton"),
    ],
)
def test_a_machine_that_can_not_run_the_kernels_goes_without(machine, fault, capfd):
    assert machine(fault) is False
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"warning: no fused kernels: {str(fault).splitlines()[0]}"


def test_a_bug_of_the_kernels_is_not_taken_for_such_a_machine(machine):
    assert machine(None) is True
    with pytest.raises(TypeError, match="positional"):
        machine(TypeError("one positional argument too few"))


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

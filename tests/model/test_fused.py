"""Tests that fused sublayers equal the modules that they replace; on the CPU with Triton's interpreter."""

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
from embedctl.model.fused import _linear_gelu, fuse, unfuse

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 160}


def small_model(dropout: float = 0.0, kind: str = "bert") -> torch.nn.Module:
    config_of, model_of = {"bert": (BertConfig, BertModel), "xlm-r": (XLMRobertaConfig, XLMRobertaModel)}[kind]
    config = config_of(vocab_size=50, hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0, **SIZES)
    torch.manual_seed(0)
    model = model_of(config, add_pooling_layer=False).train()
    for name, weight in model.named_parameters():  # initial biases of 0 and norm weights of 1 would hide errors
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=float("LayerNorm.weight" in name), std=0.3)
    return model


@pytest.mark.parametrize("kind", ["bert", "xlm-r"])
def test_all_sublayers_are_fused_and_restored(kind: str):
    model = small_model(kind=kind)
    assert fuse(model) == 8  # self-attention, its output, intermediate and output of each of two layers
    assert copy.deepcopy(model).encoder.layer[0].output.forward.__self__ is not model.encoder.layer[0].output
    unfuse(model)
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_modules_are_fused_although_transformers_has_added_hooks():
    model = small_model()
    model(input_ids=torch.ones(1, 3, dtype=torch.long), output_hidden_states=True, output_attentions=True)
    assert any(module._forward_hooks for module in model.modules())
    assert (fuse(model), fuse(model)) == (8, 8)


def test_another_activation_is_not_fused():
    model = BertModel(BertConfig(vocab_size=50, hidden_act="relu", **SIZES))
    assert fuse(model) == 6


def add_parameter(module: torch.nn.Module) -> None:
    class Changed(type(module)):
        def forward(self, hidden_states, input_tensor, scale=1.0):
            raise NotImplementedError

    module.__class__ = Changed


CHANGES = {
    "a hook": lambda module: module.dense.register_forward_hook(lambda *_: None),
    "a patched layer": lambda module: setattr(module.dense, "forward", torch.relu),
    "no bias": lambda module: setattr(module, "dense", torch.nn.Linear(160, 48, bias=False)),
    "another linear layer": lambda module: setattr(module, "dense", torch.nn.LazyLinear(48)),
    "another norm": lambda module: setattr(module, "LayerNorm", torch.nn.RMSNorm(48)),
    "a norm without a bias": lambda module: setattr(module, "LayerNorm", torch.nn.LayerNorm(48, bias=False)),
    "another dropout": lambda module: setattr(module, "dropout", torch.nn.Identity()),
    "an additional child": lambda module: setattr(module, "adapter", torch.nn.Identity()),
    "a missing child": lambda module: delattr(module, "dropout"),
    "an additional parameter": add_parameter,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_module_with_another_structure_is_not_fused(change: str):
    model = small_model()
    CHANGES[change](model.encoder.layer[1].output)
    assert fuse(model) == 7
    assert "forward" not in vars(model.encoder.layer[1].output)


@pytest.mark.parametrize("name", ["config", "scaling", "attention_head_size"])
def test_attention_without_a_required_attribute_is_not_fused(name: str):
    model = small_model()
    delattr(model.encoder.layer[0].attention.self, name)
    assert fuse(model) == 7


def test_a_forward_patched_by_other_code_is_kept():
    model = small_model()
    patched = model.encoder.layer[0].output.forward = lambda hidden, residual: residual
    assert fuse(model) == 7
    unfuse(model)
    assert [vars(module)["forward"] for module in model.modules() if "forward" in vars(module)] == [patched]


@pytest.fixture
def kernels_available(monkeypatch) -> Callable[[Exception | None], bool]:
    """Return a function that calls `fused.available` with kernels that raise the given error."""

    class TritonError(Exception):
        pass

    def call(error: Exception | None) -> bool:
        def kernel(*_args, **_kwargs):
            if error is not None:
                raise TritonError(str(error)) if error.args == ("of Triton",) else error

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch, "ones", lambda *_args, **_kwargs: [None])
        monkeypatch.setattr(fused, "find_spec", lambda name: name)
        monkeypatch.setitem(sys.modules, "triton", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "triton.errors", SimpleNamespace(TritonError=TritonError))
        monkeypatch.setitem(sys.modules, "embedctl.model.kernels", SimpleNamespace(dropout_add_norm=kernel))
        return fused.available.__wrapped__()

    return call


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no C compiler\nand more"),
        CalledProcessError(1, "gcc"),
        PermissionError(13, "denied"),
        ImportError("libtriton.so"),
        AssertionError("libcuda.so can not be found"),
        Exception("of Triton"),
    ],
)
def test_without_working_kernels_a_warning_is_printed(kernels_available, error, capfd):
    assert kernels_available(error) is False
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: the fused kernels are not available")
    assert line.endswith(f": {str(error).splitlines()[0]}")


def test_a_bug_of_the_kernels_is_raised(kernels_available):
    assert kernels_available(None) is True
    with pytest.raises(TypeError, match="positional"):
        kernels_available(TypeError("one positional argument too few"))


def test_projections_equal_those_of_the_modules():
    """Compare the output and the gradients of the input and all weights in float64; no kernel is needed."""
    attention = small_model().double().encoder.layer[0].attention.self
    attention.config._attn_implementation = "sdpa"
    hidden = torch.randn(2, 7, 48, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 7, 48, dtype=torch.float64)
    results = []
    for fused_projections in (False, True):
        if fused_projections:
            assert fuse(attention) == 1
        attention.zero_grad()
        hidden.grad = None
        output = attention(hidden, attention_mask=None)[0]
        (output * weight).sum().backward()
        results.append([output.detach(), hidden.grad, *(part.grad.clone() for part in attention.parameters())])
    for original, replaced in zip(*results, strict=True):
        torch.testing.assert_close(replaced, original, rtol=1e-12, atol=1e-12)


def test_linear_gelu_differs_only_by_rounding_and_the_tanh_approximation():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(2)
    dense = torch.nn.Linear(32, 64).to(device)
    x = 3 * torch.randn(2, 50, 32, device=device)
    half = copy.deepcopy(dense).bfloat16()
    product = half(x.bfloat16()).float()
    with torch.no_grad():
        output = _linear_gelu(half, x.bfloat16()).float()
    exact = torch.nn.functional.gelu(product)
    assert output.shape == exact.shape
    # rounding to the eight bits of bfloat16 before and after GELU, and the error of the tanh approximation
    assert ((output - exact).abs() <= 2**-7 * product.abs() + 5e-4).all()


@pytest.mark.parametrize(("dtype", "training", "expected"), [
    (torch.bfloat16, False, True), (torch.bfloat16, True, False),
    (torch.float16, False, False), (torch.float32, False, False),
])  # fmt: skip
def test_linear_gelu_is_used_for_inference_in_bfloat16_only(monkeypatch, dtype, training, expected):
    layer = small_model().encoder.layer[0].intermediate.to(dtype).train(training)
    fuse(layer)
    called = []
    monkeypatch.setattr(fused, "_linear_gelu", lambda dense, x: called.append(dense) or dense(x))
    with torch.no_grad():
        layer(torch.randn(1, 3, 48, dtype=dtype))
    assert bool(called) is expected


def kernel_device() -> torch.device:
    """Return the device of the kernels: a GPU, or the CPU with Triton's interpreter (TRITON_INTERPRET=1)."""
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


def test_vectors_and_gradients_equal_those_of_the_modules():
    device = kernel_device()
    model = small_model().to(device)
    ids = torch.randint(0, 50, (3, 7), device=device)
    weight = torch.randn(3, 7, 48, device=device)
    expected, expected_grads = gradients(model, ids, weight)
    fuse(model)
    actual, actual_grads = gradients(model, ids, weight)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    for actual_grad, expected_grad in zip(actual_grads, expected_grads, strict=True):
        torch.testing.assert_close(actual_grad, expected_grad, rtol=1e-3, atol=2e-4)
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).last_hidden_state, expected, rtol=1e-4, atol=1e-5)


def test_dropout_uses_the_same_mask_in_both_passes_and_depends_on_the_seed():
    """Compare the gradient of the kernel's input with finite differences, for one dropout mask."""
    device = kernel_device()
    from embedctl.model.kernels import dropout_add_norm

    torch.manual_seed(1)
    z, residual, weight = (torch.randn(5, 48, device=device) for _ in range(3))
    bias, beta, gamma = torch.zeros(48, device=device), torch.zeros(48, device=device), torch.ones(48, device=device)

    def apply(z: torch.Tensor, seed: int = 3) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout_add_norm(z, residual, bias, gamma, beta, p=0.5, eps=1e-5)

    z.requires_grad_()
    (apply(z) * weight).sum().backward()
    dropped = z.grad == 0
    assert 0.3 < float(dropped.float().mean()) < 0.7
    direction = torch.randn_like(z)
    step = 1e-2
    with torch.no_grad():
        difference = ((apply(z + step * direction) - apply(z - step * direction)) * weight).sum() / (2 * step)
    torch.testing.assert_close(difference, (z.grad * direction).sum(), rtol=2e-2, atol=2e-2)
    assert torch.equal(apply(z), apply(z))
    assert not torch.equal(apply(z), apply(z, seed=4))

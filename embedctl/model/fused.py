"""Replacement of the sublayers of BERT-like models by fused kernels, which need much less memory traffic.

The results are equal to those of the original modules, except that inference in bfloat16 uses the tanh approximation of
GELU (see `_linear_gelu`).

Modules are recognized by their structure, not by their class: `FUSED_FORWARDS` lists the structure that each fused
forward requires. A module with any other structure is not changed. `equivalence.packing_problem` compares the vectors
with those of the original modules on a few texts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from subprocess import SubprocessError
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn import Dropout, LayerNorm, Linear
from torch.nn.functional import linear
from transformers import activations
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from embedctl import console
from embedctl.errors import first_line

KERNEL_ERRORS = (
    RuntimeError,  # torch or Triton: an error of the driver, the GPU or its memory, or no C compiler
    OSError,  # the cache folder cannot be written, or the compiler cannot be started
    SubprocessError,  # the C compiler failed
    ImportError,  # a library of Triton, or one that Triton has compiled, cannot be loaded
    AssertionError,  # Triton does not find libcuda
)


@cache
def available() -> bool:
    """Return whether the kernels work on this machine; one is run to find out, because Triton needs a C compiler."""
    if not torch.cuda.is_available() or find_spec("triton") is None:
        return False
    try:
        _try_kernels()
    except KERNEL_ERRORS as cause:
        console.warn(f"the fused kernels are not available, so training and encoding are slower: {first_line(cause)}")
        return False
    return True


def _try_kernels() -> None:
    from triton.errors import TritonError

    from embedctl.model.kernels import dropout_add_norm

    row = torch.ones(1, 16, device="cuda")
    try:
        dropout_add_norm(row, row, row[0], row[0], row[0], p=0.0, eps=1e-5)
    except TritonError as cause:  # the kernel cannot be compiled for this GPU
        raise RuntimeError(first_line(cause)) from cause


@dataclass(frozen=True)
class FusedForward:
    """A fused `forward` method, and the structure that a module must have for equal results."""

    forward: Callable[..., Any]  # the replacement of the module's forward
    children: dict[str, type | None]  # name and class of all children of the module
    parameters: tuple[str, ...]  # required parameters of the module's forward, in order
    optional_parameters: tuple[str, ...] = ()  # further parameters that the forward of the module may have
    attributes: tuple[str, ...] = ()  # further attributes that the fused forward uses

    def matches(self, module: torch.nn.Module) -> bool:
        """Return whether `module` has the structure that the fused forward requires."""
        children = dict(module.named_children())
        _self, *parameters = inspect.signature(type(module).forward).parameters
        return (
            {name: type(child) for name, child in children.items()} == self.children
            and all(map(_is_unmodified, children.values()))
            and tuple(name for name in parameters if name not in self.optional_parameters) == self.parameters
            and all(hasattr(module, name) for name in self.attributes)
        )


def _is_unmodified(layer: torch.nn.Module) -> bool:
    """Return whether a layer has no hooks and no patched forward, and its bias, if its class has one, is not None."""
    patched = "forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks
    return getattr(layer, "bias", True) is not None and not patched


def fuse(model: torch.nn.Module) -> int:
    """Replace the forward of each module that a fused forward matches; return the number of these modules."""
    unfuse(model)
    unpatched = [module for module in model.modules() if "forward" not in vars(module)]
    matches = [(module, fused) for module in unpatched for fused in FUSED_FORWARDS if fused.matches(module)]
    for module, fused in matches:
        module.forward = MethodType(fused.forward, module)
    return len(matches)


def unfuse(model: torch.nn.Module) -> None:
    """Restore the original forward of all modules."""
    functions = {fused.forward for fused in FUSED_FORWARDS}
    for module in model.modules():
        if getattr(vars(module).get("forward"), "__func__", None) in functions:
            del module.forward


class _Projections(torch.autograd.Function):
    """Several linear layers with the same input: `forward(x, weight, bias, weight, bias, ...)`, all of one type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """Return the output of each layer."""
        weights, biases = parameters[::2], parameters[1::2]
        ctx.save_for_backward(x, *weights)
        return tuple(linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of `x`, summed by `addmm_` without temporary tensors, and of weights and biases."""
        x, *weights = ctx.saved_tensors
        rows = x.flatten(0, -2)
        row_grads = [grad.flatten(0, -2) for grad in grads]
        x_grad = row_grads[0] @ weights[0]
        for grad, weight in zip(row_grads[1:], weights[1:], strict=True):
            x_grad.addmm_(grad, weight)
        parameter_grads = (result for grad in row_grads for result in (grad.T @ rows, grad.sum(0)))
        return x_grad.view_as(x), *parameter_grads


def _self_attention(
    self: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
) -> tuple[Tensor, Any]:
    device = hidden_states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_states.dtype
    layers = (self.query, self.key, self.value)
    parameters = (parameter.to(dtype) for layer in layers for parameter in (layer.weight, layer.bias))
    shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
    projected = _Projections.apply(hidden_states.to(dtype), *parameters)  # type: ignore[no-untyped-call]
    query, key, value = (states.view(shape).transpose(1, 2) for states in projected)
    attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
    dropout = self.dropout.p if self.training else 0.0
    output, weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
    return output.flatten(-2), weights


def _output(self: Any, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
    from embedctl.model.kernels import dropout_add_norm

    dense, norm, p = self.dense, self.LayerNorm, self.dropout.p if self.training else 0.0
    z = linear(hidden_states, dense.weight, dense.bias.detach())
    return dropout_add_norm(z, input_tensor, dense.bias, norm.weight, norm.bias, p=p, eps=norm.eps)


def _intermediate(self: Any, hidden_states: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        from embedctl.model.kernels import gelu

        return gelu(linear(hidden_states, self.dense.weight, self.dense.bias.detach()), self.dense.bias)
    if not self.training and hidden_states.dtype == self.dense.weight.dtype == torch.bfloat16:
        return _linear_gelu(self.dense, hidden_states)
    return torch.nn.functional.gelu(self.dense(hidden_states))


def _linear_gelu(dense: Linear, x: Tensor) -> Tensor:
    """Return GELU(dense(x)) in bfloat16, computed in one kernel; for inference only.

    The kernel uses the tanh approximation of GELU (Hendrycks and Gimpel 2016), which differs from the exact one by at
    most 5e-4. In bfloat16 the error of the vectors is the same with both; in float16 it would be larger.
    """
    product = torch._addmm_activation(dense.bias, x.flatten(0, -2), dense.weight.T, use_gelu=True)
    return product.view(*x.shape[:-1], -1)


GELU: type | None = getattr(activations, "GELUActivation", None)  # the exact GELU of transformers
FUSED_FORWARDS = (
    FusedForward(
        _self_attention,
        children={"query": Linear, "key": Linear, "value": Linear, "dropout": Dropout},
        parameters=("hidden_states",),
        # `cache` and `past_key_values` are used for text generation only
        optional_parameters=("attention_mask", "cache", "past_key_values", "kwargs"),
        attributes=("config", "scaling", "attention_head_size"),
    ),
    FusedForward(
        _output,
        children={"dense": Linear, "LayerNorm": LayerNorm, "dropout": Dropout},
        parameters=("hidden_states", "input_tensor"),
    ),
    FusedForward(_intermediate, children={"dense": Linear, "intermediate_act_fn": GELU}, parameters=("hidden_states",)),
)

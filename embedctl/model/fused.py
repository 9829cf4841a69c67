"""Running the sublayers of BERT's family through fused kernels: the same numbers with far less traffic in memory.

The one exception is GELU's tanh form, for vectors in bfloat16: see `_gelu_of_product`.

Which modules those are is seen from their parts, not from their names: `FORMS` lists what each fused forward expects of
the module that it replaces. A module that differs in anything is left as it is. That a fused forward computes the same
is checked on a few texts when a model is packed (`parity.packing_problem`).
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

UNSUPPORTED = (
    RuntimeError,  # torch and Triton: the driver, the GPU or its memory; no C compiler
    OSError,  # a cache folder that can't be written, a compiler that can't be started
    SubprocessError,  # a C compiler that fails
    ImportError,  # Triton's own libraries, and what it has just compiled
    AssertionError,  # Triton does not find libcuda
)


@cache
def available() -> bool:
    """Whether the kernels run here: tried once, as Triton also needs a C compiler."""
    if not torch.cuda.is_available() or find_spec("triton") is None:
        return False
    try:
        _try_kernels()
    except UNSUPPORTED as cause:
        console.warn(f"no fused kernels: {first_line(cause)}")
        return False
    return True


def _try_kernels() -> None:
    from triton.errors import TritonError

    from embedctl.model.kernels import dropout_add_norm

    row = torch.ones(1, 16, device="cuda")
    try:
        dropout_add_norm(row, row, row[0], row[0], row[0], p=0.0, eps=1e-5)
    except TritonError as cause:  # not compiled for this GPU
        raise RuntimeError(first_line(cause)) from cause


@dataclass(frozen=True)
class Form:
    """A fused forward, and what a module must look like for it to compute the same."""

    forward: Callable[..., Any]  # takes the place of the module's own
    children: dict[str, type | None]  # the module's children by name, no others, and the class of each
    takes: tuple[str, ...]  # the parameters of the module's forward, in their order
    may_take: tuple[str, ...] = ()  # further parameters that the fused forward knows or need not know
    reads: tuple[str, ...] = ()  # further attributes that the fused forward reads

    def fits(self, module: torch.nn.Module) -> bool:
        """Whether `module` is as described."""
        children = dict(module.named_children())
        _self, *parameters = inspect.signature(type(module).forward).parameters
        return (
            {name: type(child) for name, child in children.items()} == self.children
            and all(map(_is_plain, children.values()))
            and tuple(name for name in parameters if name not in self.may_take) == self.takes
            and all(hasattr(module, name) for name in self.reads)
        )


def _is_plain(layer: torch.nn.Module) -> bool:
    """Whether a layer has its bias, if any, and a call of it runs its class's forward alone."""
    patched = "forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks
    return getattr(layer, "bias", True) is not None and not patched


def fuse(model: torch.nn.Module) -> int:
    """Let every module that has a fused form run it until `unfuse`, and say how many there are."""
    unfuse(model)
    free = [module for module in model.modules() if "forward" not in vars(module)]
    found = [(module, form) for module in free for form in FORMS if form.fits(module)]
    for module, form in found:
        module.forward = MethodType(form.forward, module)
    return len(found)


def unfuse(model: torch.nn.Module) -> None:
    """Let every module run its own code again."""
    ours = {form.forward for form in FORMS}
    for module in model.modules():
        if getattr(vars(module).get("forward"), "__func__", None) in ours:
            del module.forward


class _Projections(torch.autograd.Function):
    """Linear layers of one input, as `forward(x, weight, bias, weight, bias, ...)` in one type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """The output of each layer."""
        weights, biases = parameters[::2], parameters[1::2]
        ctx.save_for_backward(x, *weights)
        return tuple(linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        """The gradient of `x`, added up by the matrix products themselves, and those of weights and biases."""
        x, *weights = ctx.saved_tensors
        rows = x.flatten(0, -2)
        parts = [grad.flatten(0, -2) for grad in grads]
        x_grad = parts[0] @ weights[0]
        for part, weight in zip(parts[1:], weights[1:], strict=True):
            x_grad.addmm_(part, weight)
        own = (grad for part in parts for grad in (part.T @ rows, part.sum(0)))
        return x_grad.view_as(x), *own


def _self_attention(
    self: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
) -> tuple[Tensor, Any]:
    kind = hidden_states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_states.dtype
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
        return _gelu_of_product(self.dense, hidden_states)
    return torch.nn.functional.gelu(self.dense(hidden_states))


def _gelu_of_product(dense: Linear, x: Tensor) -> Tensor:
    """GELU(dense(x)) in bfloat16, within the matrix product itself: for vectors, not for training.

    The product knows GELU's tanh form (Hendrycks and Gimpel 2016), within 5e-4 of the exact one. In bfloat16 vectors
    are as near to float32's with either, in float16 they are not.
    """
    product = torch._addmm_activation(dense.bias, x.flatten(0, -2), dense.weight.T, use_gelu=True)
    return product.view(*x.shape[:-1], -1)


GELU: type | None = getattr(activations, "GELUActivation", None)  # the exact one, as it is called in transformers
FORMS = (
    Form(
        _self_attention,
        children={"query": Linear, "key": Linear, "value": Linear, "dropout": Dropout},
        takes=("hidden_states",),
        may_take=("attention_mask", "cache", "past_key_values", "kwargs"),  # caches serve generation only
        reads=("config", "scaling", "attention_head_size"),
    ),
    Form(
        _output,
        children={"dense": Linear, "LayerNorm": LayerNorm, "dropout": Dropout},
        takes=("hidden_states", "input_tensor"),
    ),
    Form(_intermediate, children={"dense": Linear, "intermediate_act_fn": GELU}, takes=("hidden_states",)),
)

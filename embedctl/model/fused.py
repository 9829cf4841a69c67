"""Running the sublayers of BERT's family through fused kernels: the same numbers with far less traffic in memory.

The one exception is GELU's tanh form, for vectors in bfloat16: see `_gelu_of_product`.

Which modules those are is seen from their parts, not from their names: a linear layer, dropout and a LayerNorm over the
sum with the residual; a linear layer followed by GELU; and the query, key and value of self-attention, whose gradients
of their common input the matrix products add up themselves. Other models are left as they are.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib.util import find_spec
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from embedctl import console

ATTENTION_TAKES = {"self", "hidden_states", "attention_mask", "cache", "past_key_values", "kwargs"}


@cache
def available() -> bool:
    """Whether the kernels run here: tried once, as Triton also needs a C compiler."""
    if not torch.cuda.is_available() or find_spec("triton") is None:
        return False
    try:
        from embedctl.model.kernels import dropout_add_norm

        row = torch.ones(1, 16, device="cuda")
        dropout_add_norm(row, row, row[0], row[0], row[0], p=0.0, eps=1e-5)
    except Exception as cause:  # whatever a compiler may raise: the model runs without
        console.warn(f"no fused kernels: {str(cause).splitlines()[0][:200] if str(cause) else type(cause).__name__}")
        return False
    return True


def fuse(model: torch.nn.Module) -> int:
    """Let every module that has a fused form run it from now on, and say how many there are."""
    fused = [(module, form) for module in model.modules() if (form := _form(module)) is not None]
    for module, form in fused:
        module.forward = MethodType(form, module)
    return len(fused)


def unfuse(model: torch.nn.Module) -> None:
    """Let every module run its own code again."""
    for module in model.modules():
        if getattr(module.__dict__.get("forward"), "__func__", None) in FORMS:
            del module.forward


def _form(module: torch.nn.Module) -> Any:
    """The function that computes what `module` does, or None."""
    takes = list(inspect.signature(type(module).forward).parameters)
    parts = {name for name, _ in module.named_children()}
    if parts == {"query", "key", "value", "dropout"}:
        plain = all(_is_plain(part) for part in (module.query, module.key, module.value))
        known = set(takes) <= ATTENTION_TAKES and hasattr(module, "scaling") and hasattr(module, "attention_head_size")
        return _self_attention if plain and known else None
    if not _is_plain(getattr(module, "dense", None)):
        return None
    if takes == ["self", "hidden_states", "input_tensor"] and parts == {"dense", "LayerNorm", "dropout"}:
        plain = type(module.LayerNorm) is torch.nn.LayerNorm and module.LayerNorm.bias is not None
        return _output if plain and type(module.dropout) is torch.nn.Dropout else None
    if takes == ["self", "hidden_states"] and parts == {"dense", "intermediate_act_fn"}:
        return _intermediate if type(module.intermediate_act_fn).__name__ == "GELUActivation" else None
    return None


def _is_plain(layer: Any) -> bool:
    return type(layer) is torch.nn.Linear and layer.bias is not None


class _Projections(torch.autograd.Function):
    """Linear layers of one input, as `forward(x, weight, bias, weight, bias, ...)` in one type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        weights, biases = parameters[::2], parameters[1::2]
        ctx.save_for_backward(x, *weights)
        return tuple(linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
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


def _gelu_of_product(dense: torch.nn.Linear, x: Tensor) -> Tensor:
    """GELU(dense(x)) in bfloat16, within the matrix product itself: for vectors, not for training.

    The product knows GELU's tanh form (Hendrycks and Gimpel 2016), within 5e-4 of the exact one. In bfloat16 vectors
    are as near to float32's with either, in float16 they are not.
    """
    product = torch._addmm_activation(dense.bias, x.flatten(0, -2), dense.weight.T, use_gelu=True)
    return product.view(*x.shape[:-1], -1)


FORMS = (_self_attention, _output, _intermediate)

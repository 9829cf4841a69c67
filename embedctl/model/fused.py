"""Running the sublayers of BERT's family through fused kernels: the same numbers with far less traffic in memory.

Which modules those are is seen from their parts, not from their names: a linear layer, dropout and a LayerNorm over the
sum with the residual; and a linear layer followed by GELU. Other models are left as they are.
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

from embedctl import console


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
        if getattr(module.__dict__.get("forward"), "__func__", None) in (_output, _intermediate):
            del module.forward


def _form(module: torch.nn.Module) -> Any:
    """The function that computes what `module` does, or None."""
    dense = getattr(module, "dense", None)
    if type(dense) is not torch.nn.Linear or dense.bias is None:
        return None
    takes = list(inspect.signature(type(module).forward).parameters)
    parts = {name for name, _ in module.named_children()}
    if takes == ["self", "hidden_states", "input_tensor"] and parts == {"dense", "LayerNorm", "dropout"}:
        plain = type(module.LayerNorm) is torch.nn.LayerNorm and module.LayerNorm.bias is not None
        return _output if plain and type(module.dropout) is torch.nn.Dropout else None
    if takes == ["self", "hidden_states"] and parts == {"dense", "intermediate_act_fn"}:
        return _intermediate if type(module.intermediate_act_fn).__name__ == "GELUActivation" else None
    return None


def _output(self: Any, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
    from embedctl.model.kernels import dropout_add_norm

    dense, norm, p = self.dense, self.LayerNorm, self.dropout.p if self.training else 0.0
    z = linear(hidden_states, dense.weight, dense.bias.detach())
    return dropout_add_norm(z, input_tensor, dense.bias, norm.weight, norm.bias, p=p, eps=norm.eps)


def _intermediate(self: Any, hidden_states: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return torch.nn.functional.gelu(self.dense(hidden_states))
    from embedctl.model.kernels import gelu

    return gelu(linear(hidden_states, self.dense.weight, self.dense.bias.detach()), self.dense.bias)

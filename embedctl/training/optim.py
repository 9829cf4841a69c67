"""The optimizer's groups and the learning rate as a function of the step."""

from __future__ import annotations

import math

import torch

from embedctl.config import OptimSection

BETAS, EPSILON = (0.9, 0.999), 1e-8


def lr_at(step: int, total: int, options: OptimSection) -> float:
    """The learning rate of update `step`, counted from 0: it rises over the warm-up and is 0 at the last of `total`.

    A run of one update has neither; it runs at `options.lr`.
    """
    warmup = math.ceil(options.warmup_proportion * total)
    if step < warmup:
        return options.lr * (step + 1) / warmup if warmup > 1 else options.lr
    if options.lr_scheduler == "constant" or total == 1:
        return options.lr
    left = (total - 1 - step) / max(total - warmup, 1)
    if options.lr_scheduler == "cosine":
        return options.lr * (1 - math.cos(math.pi * left)) / 2
    return options.lr * left


def decays(module: torch.nn.Module, name: str) -> bool:
    """Whether weight decay acts on a module's parameter: not on biases and not on the weights of any norm."""
    return name != "bias" and "norm" not in type(module).__name__.lower() and not isinstance(module, torch.nn.LayerNorm)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups of the trainable parameters: with and without decay."""
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups[decays(module, name) and parameter.ndim > 1].append(parameter)
    return [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]


def adamw(model: torch.nn.Module, options: OptimSection) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) over a model's trainable parameters, in one fused kernel."""
    return torch.optim.AdamW(
        parameter_groups(model, options.weight_decay), lr=options.lr, betas=BETAS, eps=EPSILON, fused=True
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Write the learning rate into every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr

"""The optimizer, its parameter groups and the learning rate of each step."""

from __future__ import annotations

import math

import torch

from embedctl.config import OptimSection

BETAS, EPSILON = (0.9, 0.999), 1e-8


def lr_at(step: int, total: int, options: OptimSection) -> float:
    """Return the learning rate of a step, counted from 0, of a run with `total` steps.

    It rises linearly to `options.lr` during the warm-up and falls to 0 at the last step, unless the schedule is
    constant. A run of one step uses `options.lr`.
    """
    warmup = math.ceil(options.warmup_proportion * total)
    if step < warmup:
        return options.lr * (step + 1) / warmup if warmup > 1 else options.lr
    if options.lr_scheduler == "constant" or total == 1:
        return options.lr
    remaining = (total - 1 - step) / max(total - warmup, 1)
    if options.lr_scheduler == "cosine":
        return options.lr * (1 - math.cos(math.pi * remaining)) / 2
    return options.lr * remaining


def has_weight_decay(module: torch.nn.Module, name: str) -> bool:
    """Return whether weight decay applies to a module's parameter: not to biases and not to normalization layers."""
    return name != "bias" and "norm" not in type(module).__name__.lower() and not isinstance(module, torch.nn.LayerNorm)


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return the trainable parameters in two groups, with and without weight decay."""
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups[has_weight_decay(module, name) and parameter.ndim > 1].append(parameter)
    return [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]


def adamw(model: torch.nn.Module, options: OptimSection) -> torch.optim.AdamW:
    """Return a fused AdamW (Loshchilov and Hutter, 2019) for the trainable parameters of a model."""
    return torch.optim.AdamW(
        parameter_groups(model, options.weight_decay), lr=options.lr, betas=BETAS, eps=EPSILON, fused=True
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr

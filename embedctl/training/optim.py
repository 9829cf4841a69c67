"""The optimizer, its parameter groups and the learning rate of each step."""

from __future__ import annotations

import math

import torch

from embedctl.config import OptimSection


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


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return the trainable parameters in two groups: matrices outside of normalization layers have weight decay."""
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    seen: set[int] = set()
    for module in model.modules():
        normalizes = isinstance(module, torch.nn.LayerNorm) or "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups[parameter.ndim > 1 and name != "bias" and not normalizes].append(parameter)
    return [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]


def adamw(model: torch.nn.Module, options: OptimSection) -> torch.optim.AdamW:
    """Return a fused AdamW (Loshchilov and Hutter, 2019) for the trainable parameters of a model."""
    groups = parameter_groups(model, options.weight_decay)
    return torch.optim.AdamW(groups, lr=options.lr, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr

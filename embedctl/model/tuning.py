"""Preparation of a model for training: LoRA, frozen weights, gradient checkpointing, master weights, compilation."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from embedctl.config import TuneSection
from embedctl.errors import ConfigError
from embedctl.model.embedder import Embedder
from embedctl.model.fused import unfuse
from embedctl.tokens.prompts import PromptKind
from embedctl.tokens.tokenize import tokenize


def check_tuning(embedder: Embedder, config: TuneSection, device: torch.device) -> None:
    """Raise a ConfigError if an option for the layers of a transformer cannot be applied to the model."""
    name = type(embedder.model[0]).__name__
    options = {"--lora-rank": config.lora_rank, "--gradient-checkpointing": config.gradient_checkpointing}
    options["--compile"] = config.compile
    for option in (option for option, value in options.items() if value):
        if not embedder.backbone_settings:
            message = f"{option}: the first module of the model, {name}, is not a transformer and has no layers"
            raise ConfigError(message, f"remove {option}")
    if config.gradient_checkpointing and not embedder.backbone.supports_gradient_checkpointing:
        message = f"--gradient-checkpointing: {type(embedder.backbone).__name__} of transformers does not support it"
        raise ConfigError(message, "remove --gradient-checkpointing; to save memory, lower --tokens-per-forward")
    if config.compile and device.type != "cuda":
        message = f"--compile: layers are compiled on a GPU only, and this run computes on the device {device.type}"
        raise ConfigError(message, "remove --compile")


def add_adapters(embedder: Embedder, config: TuneSection) -> None:
    """Add low-rank adapters (LoRA; Hu et al., 2022) to linear layers and freeze all other weights.

    Raises:
        ConfigError: the package peft is not installed, or the model has no linear layer of the given names.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        hint = "run `pip install 'embedctl[peft]'`"
        raise ConfigError("--lora-rank: the package peft is not installed", hint) from None
    targets = adapter_targets(embedder.backbone, config.lora_target_modules)
    alpha: Any = config.lora_alpha or 2 * config.lora_rank  # peft accepts a float
    embedder.requires_grad_(False)
    adapters = LoraConfig(r=config.lora_rank, lora_alpha=alpha, target_modules=targets)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")  # peft then sets it for Conv1D
        inject_adapter_in_model(adapters, embedder.backbone)


def adapter_targets(backbone: torch.nn.Module, names: Sequence[str]) -> list[str]:
    """Return the linear layers of a transformers model that get adapters.

    GPT-2's Conv1D is a linear layer with transposed weights.

    Args:
        backbone: the model.
        names: the layers, or the ends of their names after a dot; without names, all layers but those of the pooler.

    Raises:
        ConfigError: no linear layer has one of the names, or the model has no linear layer.
    """
    linear = [name for name, module in backbone.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    if not linear:
        raise ConfigError("--lora-rank: the model has no linear layers for LoRA adapters", "remove --lora-rank")
    unknown = [name for name in names if not any(f".{layer}".endswith(f".{name}") for layer in linear)]
    if unknown:
        known = ", ".join(sorted({layer.rpartition(".")[2] for layer in linear}))
        message = f"--lora-target-modules {unknown[0]}: the model has no linear layer of this name"
        raise ConfigError(message, f"use one of these names: {known}")
    if not names:
        return [layer for layer in linear if "pooler" not in layer]
    return [layer for layer in linear if any(f".{layer}".endswith(f".{name}") for name in names)]


def freeze_unused(embedder: Embedder) -> list[str]:
    """Freeze the weights that the vectors do not depend on, such as BERT's pooler, and return their names.

    These weights never get a gradient. With several processes, the other ranks would wait for it.
    """
    kinds: tuple[PromptKind, ...] = ("query", "passage")
    texts = [embedder.prefix(kind, "") + "a" for kind in kinds]
    tokens = tokenize(embedder.tokenizer, texts, embedder.max_len)
    training = embedder.training
    with torch.random.fork_rng(devices=[]):
        embedder.eval()(embedder.features(tokens)).sum().backward()
    embedder.train(training)
    unused = [name for name, weight in embedder.named_parameters() if weight.requires_grad and weight.grad is None]
    for name, weight in embedder.named_parameters():
        weight.grad = None
        if name in unused:
            weight.requires_grad_(False)
    return unused


def enable_gradient_checkpointing(embedder: Embedder) -> None:
    """Recompute activations in the backward pass, with the same dropout as in the forward pass."""
    backbone = embedder.backbone
    enable = getattr(backbone, "activation_checkpointing_enable", None)  # the name in newer versions of transformers
    (enable or backbone.gradient_checkpointing_enable)({"use_reentrant": False})


class MasterWeights:
    """Float32 master weights of a model that computes in half precision, on one device.

    Gradients are accumulated in float32 during the backward pass. `copy_to_model` must be called after each update.

    Args:
        model: the model, which is converted to `dtype`; `self.model` is a float32 copy for the optimizer.
        dtype: the type in which the model computes.
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        self.model = copy.deepcopy(model)
        model.to(dtype)
        pairs = zip(model.parameters(), self.model.parameters(), strict=True)
        self._pairs = [(weight, master) for weight, master in pairs if weight.requires_grad]
        for weight, master in self._pairs:
            hook = partial(_accumulate, master)
            weight.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Copy the master weights to the model, rounded to its type."""
        weights, masters = zip(*self._pairs, strict=True)
        torch._foreach_copy_(weights, masters)


def _accumulate(master: torch.nn.Parameter, weight: torch.Tensor) -> None:
    """Add the gradient of a weight to that of its master weight and then delete it."""
    if weight.grad is not None:
        master.grad = weight.grad.float() if master.grad is None else master.grad.add_(weight.grad)
        weight.grad = None


def compile_layers(embedder: Embedder) -> None:
    """Compile the parts of each layer outside attention, for any number of tokens.

    Attention already is one kernel. Compilation fuses projections, activations, dropout, residuals and norms.
    """
    import torch._inductor.config as inductor

    if hasattr(inductor.triton, "mix_order_reduction"):
        # inductor must not fuse the two reductions of a norm: they would take 4 times as long (H200, torch 2.11)
        inductor.triton.mix_order_reduction = False
    unfuse(embedder.backbone)  # the compiler generates its own fused kernels
    names = set(embedder._no_split_modules)
    for module in embedder.backbone.modules():
        if type(module).__name__ in names and "Embedding" not in type(module).__name__:
            _compile_around_attention(module)


def _compile_around_attention(module: torch.nn.Module) -> None:
    for part in module.children():
        if any(hasattr(inner, "scaling") or hasattr(inner, "is_causal") for inner in part.modules()):
            if not hasattr(part, "scaling"):
                _compile_around_attention(part)
        elif any(isinstance(inner, torch.nn.Linear) for inner in part.modules()):
            part.compile(dynamic=True)

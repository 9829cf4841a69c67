"""Making a model trainable: what is trained, adapters, recomputation, and float32 masters of half-precision weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch

from embedctl.config import TuneSection
from embedctl.errors import ConfigError
from embedctl.model.embedder import Embedder
from embedctl.model.fused import unfuse
from embedctl.tokens.packing import Ragged


def add_adapters(embedder: Embedder, config: TuneSection) -> None:
    """Put low-rank adapters (LoRA: Hu et al., 2022) on the linear layers; only they are trained.

    Raises:
        ConfigError: the extra is missing.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ConfigError("--lora-rank: needs the package peft", 'pip install "embedctl[peft]"') from None
    linear = [name for name, module in embedder.backbone.named_modules() if isinstance(module, torch.nn.Linear)]
    adapters = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,  # type: ignore[arg-type]
        target_modules=[name for name in linear if "pooler" not in name],
    )
    embedder.requires_grad_(False)
    inject_adapter_in_model(adapters, embedder.backbone)


def merge_adapters(embedder: Embedder) -> None:
    """Fold adapters into the weights and take them off, if there are any: the model is a plain one again."""
    if not any("lora_" in name for name, _ in embedder.named_parameters()):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(embedder.backbone.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent = embedder.backbone.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    if hasattr(embedder.backbone, "peft_config"):
        del embedder.backbone.peft_config
    embedder.backbone._hf_peft_config_loaded = False


def freeze_unused(embedder: Embedder) -> list[str]:
    """Stop training what a vector does not depend on (BERT's pooler): other ranks would wait for its gradient.

    Returns:
        The names of the parameters frozen.
    """
    token = embedder.tokenizer.pad_token_id or 0
    text = Ragged(np.full(4, token, dtype=np.int32), np.array([4]))
    training = embedder.training
    with torch.random.fork_rng(devices=[]):
        embedder.eval()(embedder.features(text)).sum().backward()
    embedder.train(training)
    unused = [name for name, weight in embedder.named_parameters() if weight.requires_grad and weight.grad is None]
    for name, weight in embedder.named_parameters():
        weight.grad = None
        if name in unused:
            weight.requires_grad_(False)
    return unused


def enable_gradient_checkpointing(embedder: Embedder) -> None:
    """Recompute activations in the backward pass, with the random state of the forward one."""
    backbone = embedder.backbone
    newer = getattr(backbone, "activation_checkpointing_enable", None)  # the name in newer transformers
    (newer or backbone.gradient_checkpointing_enable)({"use_reentrant": False})


class MasterWeights:
    """Float32 masters of a model that computes in half precision, on one device.

    Gradients are added up in float32 as they arrive; `publish` rounds the masters into the model after an update.

    Args:
        model: becomes `dtype`; `self.model` is the float32 copy that an optimizer works on.
        dtype: in which the model computes.
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        self.model = copy.deepcopy(model)
        model.to(dtype)
        pairs = zip(model.parameters(), self.model.parameters(), strict=True)
        self._pairs = [(live, master) for live, master in pairs if live.requires_grad]
        for live, master in self._pairs:
            live.register_post_accumulate_grad_hook(_adding_to(master))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters into the model."""
        live, masters = zip(*self._pairs, strict=True)
        torch._foreach_copy_(live, masters)


def _adding_to(master: torch.nn.Parameter) -> Callable[[torch.Tensor], None]:
    def _move(live: torch.Tensor) -> None:
        if live.grad is not None:
            master.grad = live.grad.float() if master.grad is None else master.grad.add_(live.grad)
            live.grad = None

    return _move


def compile_layers(embedder: Embedder) -> None:
    """Compile what is around attention in each layer, for any number of tokens.

    Attention itself is one kernel already; projections, activations, dropout, residuals and norms are fused into few.
    """
    _keep_reductions_apart()
    unfuse(embedder.backbone)  # the compiler makes kernels of its own
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


def _keep_reductions_apart() -> None:
    """Inductor's fusion of a norm's two reductions takes four times as long as both alone (H200, torch 2.11)."""
    import torch._inductor.config as inductor

    if hasattr(inductor.triton, "mix_order_reduction"):
        inductor.triton.mix_order_reduction = False

"""Merging of adapters (LoRA) into the weights of a model."""

from __future__ import annotations

import torch


def merge_adapters(model: torch.nn.Module) -> None:
    """Merge the adapters of a model, if there are any, into its weights, and remove them."""
    if not any("lora_" in name for name, _ in model.named_parameters()):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
    for module in model.modules():
        if vars(module).pop("peft_config", None) is not None:
            # transformers would save the weights under the names of peft
            vars(module).update(_hf_peft_config_loaded=False, _weight_conversions=[])
    model.requires_grad_(True)

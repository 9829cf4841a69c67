"""Pooling of packed texts in float32, without a word from the GPU to the CPU that would make either wait."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

POOLED = {"cls", "lasttoken", "mean"}


def can_pool(module: torch.nn.Module, features: dict[str, Any]) -> bool:
    """Whether `pool_packed` does what this module does with these features; its own code takes the rest."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    return isinstance(module, Pooling) and set(_modes(module)) <= POOLED and "prompt_length" not in features


def pool_packed(module: torch.nn.Module, hidden_TH: Tensor, borders: Tensor) -> Tensor:
    """The vectors of N packed texts, as a sentence-transformers pooling would give them.

    Args:
        module: the pooling; several of its modes are joined.
        hidden_TH: (T, H) of the tokens.
        borders: (N + 1,) where texts begin and end.

    Returns:
        (N, modes * H), at least float32.
    """
    exact = torch.promote_types(hidden_TH.dtype, torch.float32)
    borders = borders.long()
    parts = []
    for mode in _modes(module):
        if mode == "mean":
            parts.append(torch.segment_reduce(hidden_TH.to(exact), "mean", offsets=borders, unsafe=True))
        else:
            parts.append(hidden_TH[borders[:-1] if mode == "cls" else borders[1:] - 1].to(exact))
    return torch.cat(parts, dim=-1)


def _modes(module: Any) -> dict[str, None]:
    """The module's modes, in their order."""
    modes = module.pooling_mode
    return dict.fromkeys((modes,) if isinstance(modes, str) else modes)

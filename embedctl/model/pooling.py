"""Pooling of packed token embeddings in float32, without device-to-host synchronization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SUPPORTED_MODES = {"cls", "lasttoken", "mean"}


def can_pool(module: torch.nn.Module, features: dict[str, Any]) -> bool:
    """Return whether `pool_packed` can replace this module for these model inputs."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    return (
        isinstance(module, Pooling)
        and set(pooling_modes(module)) <= SUPPORTED_MODES
        and "prompt_length" not in features
    )


def pool_packed(module: torch.nn.Module, hidden_TH: Tensor, cu_seq_lens: Tensor) -> Tensor:
    """Return the pooled vectors (N, modes * H) of N packed texts, equal to those of the pooling module.

    They are float32 or float64. `cu_seq_lens` (N + 1,) are the cumulative lengths of the texts, from 0 to T.
    """
    dtype = torch.promote_types(hidden_TH.dtype, torch.float32)
    cu_seq_lens = cu_seq_lens.long()
    parts = []
    for mode in pooling_modes(module):
        if mode == "mean":
            parts.append(torch.segment_reduce(hidden_TH.to(dtype), "mean", offsets=cu_seq_lens, unsafe=True))
        else:
            parts.append(hidden_TH[cu_seq_lens[:-1] if mode == "cls" else cu_seq_lens[1:] - 1].to(dtype))
    return torch.cat(parts, dim=-1)


def pooling_modes(module: Any) -> dict[str, None]:
    """Return the module's pooling modes in order, as the keys of a dict."""
    modes = module.pooling_mode
    return dict.fromkeys((modes,) if isinstance(modes, str) else modes)

"""How many tokens go through the model at once: measured on a GPU, reckoned from the machine's memory on a CPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from embedctl.distributed.ranks import gather_values, world
from embedctl.errors import TrainingError
from embedctl.model.embedder import Embedder
from embedctl.tokens.packing import Ragged

PROBES = (4096, 12288)
SHARE_OF_GPU, SHARE_OF_MEMORY = 0.7, 0.25
LEAST, MOST_ON_CPU, MOST = 1024, 16_384, 262_144


class Probed(Protocol):
    """What the probe needs of a session."""

    embedder: Embedder

    def __call__(self, features: dict[str, Any]) -> Tensor:
        """Vectors of the texts in `features`."""

    def backward(self, scalar: Tensor) -> None:
        """Add a scalar's gradient to the parameters."""

    def clear(self) -> None:
        """Forget the gradients."""


def find_budget(session: Probed, device: torch.device) -> int:
    """Tokens of one pass that leave memory to spare, the same on every rank and in every run on the same machine."""
    if device.type == "cuda":
        return min(gather_values(probe(session, device)))
    return from_memory(session.embedder)


@contextlib.contextmanager
def memory_advice(tokens: int, *, recomputes: bool) -> Iterator[None]:
    """Turn a GPU that is out of memory into a mistake that its user can mend.

    Args:
        tokens: of a pass through the model.
        recomputes: whether activations are recomputed already.

    Raises:
        TrainingError: names what to change.
    """
    try:
        yield
    except torch.OutOfMemoryError as cause:
        further = "a model with fewer weights, or several GPUs with --strategy fsdp"
        hint = f"use --tokens-per-forward {max(tokens // 2, 1)} (half of what was tried), then "
        hint += further if recomputes else f"--gradient-checkpointing, then {further}"
        raise TrainingError(f"out of GPU memory with {tokens:,} tokens in one forward", hint) from cause


def from_memory(embedder: Embedder) -> int:
    """A quarter of the machine's memory, shared by its processes, over what a token's activations take in float32."""
    config = embedder.backbone.config
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    heads = config.num_attention_heads
    numbers = config.num_hidden_layers * (16 * config.hidden_size + 3 * inner + 2 * heads * embedder.max_len)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / world()
    return _rounded(SHARE_OF_MEMORY * memory / (4 * numbers), MOST_ON_CPU)


def probe(session: Probed, device: torch.device) -> int:
    """What two small passes take, extrapolated to most of the GPU's free memory."""
    taken = [_peak(session, tokens, device) for tokens in PROBES]
    bytes_per_token = max(1.0, (taken[1] - taken[0]) / (PROBES[1] - PROBES[0]))
    free, _ = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _rounded(SHARE_OF_GPU * (free + reserved) / bytes_per_token, MOST)


def _peak(session: Probed, tokens: int, device: torch.device) -> int:
    length = min(session.embedder.max_len, 512)
    texts = Ragged(np.ones(tokens, dtype=np.int32), np.full(tokens // length, length, dtype=np.int64))
    texts = Ragged(texts.ids[: int(texts.lengths.sum())], texts.lengths)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    session.backward(session(session.embedder.features(texts)).sum())
    session.clear()
    return torch.cuda.max_memory_allocated(device) - before


def _rounded(tokens: float, most: int) -> int:
    """Down to a power of two or one and a half of it: coarse, so that small differences in memory change nothing."""
    tokens = min(max(tokens, LEAST), most)
    power = 1 << (int(tokens).bit_length() - 1)
    return power + power // 2 if tokens >= power + power // 2 else power

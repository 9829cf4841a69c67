"""How many tokens go through the model at once: measured on a GPU, reckoned from the machine's memory on a CPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from embedctl.distributed.ranks import gather_values, world
from embedctl.errors import TrainingError
from embedctl.model.embedder import Embedder
from embedctl.tokens.packing import Ragged

PROBES = (4096, 12288)
SHARE_OF_GPU, SHARE_OF_MEMORY = 0.7, 0.25
LEAST, MOST_ON_CPU, MOST = 1024, 16_384, 262_144


def find_budget(embedder: Embedder, device: torch.device, run: Callable[[Ragged], None]) -> int:
    """Tokens of one pass that leave memory to spare, the same on every rank and in every run on the same machine.

    On a GPU what two small passes take is extrapolated to most of its free memory. `run` sends texts through the model,
    forward and backward, and clears the gradients.
    """
    if device.type != "cuda":
        return from_memory(embedder)
    taken = [_peak(run, tokens, min(embedder.max_len, 512), device) for tokens in PROBES]
    bytes_per_token = max(1.0, (taken[1] - taken[0]) / (PROBES[1] - PROBES[0]))
    free, _ = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(gather_values(_rounded(SHARE_OF_GPU * (free + reserved) / bytes_per_token, MOST)))


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


def _peak(run: Callable[[Ragged], None], tokens: int, length: int, device: torch.device) -> int:
    """Bytes that a pass of so many tokens takes at most, in texts of `length` tokens."""
    lengths = np.full(tokens // length, length, dtype=np.int64)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run(Ragged(np.ones(lengths.sum(), dtype=np.int32), lengths))
    return torch.cuda.max_memory_allocated(device) - before


def _rounded(tokens: float, most: int) -> int:
    """Down to a power of two or one and a half of it: coarse, so that small differences in memory change nothing."""
    tokens = min(max(tokens, LEAST), most)
    power = 1 << (int(tokens).bit_length() - 1)
    return power + power // 2 if tokens >= power + power // 2 else power

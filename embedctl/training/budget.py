"""Token budget: the largest number of tokens in one forward pass.

On a GPU it is found by measuring the memory of two small passes, on a CPU it is estimated from the machine's memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from embedctl.distributed.ranks import gather_values, world_size
from embedctl.errors import TrainingError
from embedctl.model.embedder import Embedder
from embedctl.tokens.packing import Ragged

PROBE_TOKENS = (4096, 12_288)  # tokens of the two passes whose memory is measured
GPU_MEMORY_FRACTION, CPU_MEMORY_FRACTION = 0.7, 0.25
MIN_TOKENS, MAX_TOKENS_CPU, MAX_TOKENS_GPU = 1024, 16_384, 262_144


def find_budget(embedder: Embedder, device: torch.device, forward_backward: Callable[[Ragged], None]) -> int:
    """Return the token budget, which is the same on every rank and in every run on the same machine.

    `forward_backward` runs forward and backward pass of texts, and clears the gradients. The memory of two such passes
    is extrapolated linearly to a fraction of the free memory.
    """
    if device.type != "cuda":
        return cpu_budget(embedder)
    peaks = [_peak_memory(forward_backward, tokens, min(embedder.max_len, 512), device) for tokens in PROBE_TOKENS]
    bytes_per_token = max(1.0, (peaks[1] - peaks[0]) / (PROBE_TOKENS[1] - PROBE_TOKENS[0]))
    free, _ = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(gather_values(_round_down(GPU_MEMORY_FRACTION * (free + reserved) / bytes_per_token, MAX_TOKENS_GPU)))


@contextlib.contextmanager
def explain_out_of_memory(tokens: int, *, gradient_checkpointing: bool) -> Iterator[None]:
    """Convert torch's out-of-memory error to one with advice for the user; `tokens` is the token budget.

    Raises:
        TrainingError: the GPU ran out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as cause:
        hint = f"use --tokens-per-forward {max(tokens // 2, 1)} (half of the current value). If that is not enough, "
        hint += "" if gradient_checkpointing else "add --gradient-checkpointing, or "
        hint += "use a smaller model, or several GPUs with --strategy fsdp"
        raise TrainingError(f"out of GPU memory with {tokens:,} tokens per forward pass", hint) from cause


def cpu_budget(embedder: Embedder) -> int:
    """Return the number of tokens whose float32 activations fit into a fraction of this process's share of memory."""
    if embedder.uses_own_forward:
        return MAX_TOKENS_CPU  # bytes of texts, which are more than tokens
    config = embedder.backbone.config
    intermediate = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    heads = config.num_attention_heads
    values = config.num_hidden_layers * (16 * config.hidden_size + 3 * intermediate + 2 * heads * embedder.max_len)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / world_size()
    return _round_down(CPU_MEMORY_FRACTION * memory / (4 * values), MAX_TOKENS_CPU)


def _peak_memory(forward_backward: Callable[[Ragged], None], tokens: int, length: int, device: torch.device) -> int:
    """Return the peak memory in bytes of a pass with `tokens` tokens, in texts of `length` tokens."""
    lengths = np.full(tokens // length, length, dtype=np.int64)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    forward_backward(Ragged(np.ones(lengths.sum(), dtype=np.int32), lengths))
    return torch.cuda.max_memory_allocated(device) - before


def _round_down(tokens: float, maximum: int) -> int:
    """Round down to 2^n or 1.5 * 2^n, so that small differences in free memory do not change the budget."""
    tokens = min(max(tokens, MIN_TOKENS), maximum)
    power = 1 << (int(tokens).bit_length() - 1)
    return power + power // 2 if tokens >= power + power // 2 else power

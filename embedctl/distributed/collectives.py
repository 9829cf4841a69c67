"""What the ranks of a run tell one another. Without a process group every function is that of a single rank."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if dist.is_initialized() else 0


def barrier() -> None:
    """Wait for the other ranks."""
    if world() > 1:
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on some rank; every rank gets the same answer."""
    if world() == 1:
        return flag
    votes = torch.tensor([int(flag)], device=device)
    dist.all_reduce(votes)
    return bool(votes.item())


def gather_vectors(local: Tensor, counts: list[int]) -> Tensor:
    """The vectors of all ranks, with this rank's own slice in the graph.

    Each rank computes the whole loss on the result and multiplies it by the number of ranks: after the gradients have
    been averaged they are those of one process on the joined batch.

    Args:
        local: (counts[rank], H).
        counts: vectors of each rank.

    Returns:
        (sum(counts), H), rank after rank.
    """
    if world() == 1:
        return local
    widest = max(counts)
    padded = local.new_zeros(widest, local.shape[1])
    padded[: len(local)] = local.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat(
        [
            local if place == rank() else part[:count]
            for place, (part, count) in enumerate(zip(parts, counts, strict=True))
        ]
    )

"""What the ranks exchange: every rank calls the function, and every rank gets the same result.

With one rank each function returns its input.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from embedctl.distributed.ranks import rank, world

T = TypeVar("T")


def barrier() -> None:
    """Wait for the other ranks."""
    if world() > 1:
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on some rank."""
    if world() == 1:
        return flag
    votes = torch.tensor([int(flag)], device=device)
    dist.all_reduce(votes)
    return bool(votes.item())


def from_main(value: T) -> T:
    """The value of rank 0; those of the other ranks are ignored."""
    values = [value]
    if world() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def gather_values(value: T) -> list[T]:
    """The value of each rank, in the order of the ranks."""
    values = [value] * world()
    if world() > 1:
        dist.all_gather_object(values, value)
    return values


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

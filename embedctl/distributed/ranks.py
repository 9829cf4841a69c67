"""The ranks of a job: this process's rank, and the functions by which the ranks exchange values.

Without a process group a process is rank 0 of 1. A function that exchanges values is called by every rank and returns
the same to each; with one rank it returns its input.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(days=30)  # a rank may wait for another one's shards; a dead rank ends all through the launcher
T = TypeVar("T")


def world() -> int:
    """The number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this rank."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is rank 0, which prints messages and writes the files that exist once."""
    return rank() == 0


def owns(place: int) -> bool:
    """Whether piece `place` of the work is for this rank."""
    return place % world() == rank()


def join(*, cpu: bool) -> str:
    """Join the other ranks, which the launcher's environment names.

    Returns:
        The device of this rank.
    """
    from accelerate import PartialState

    return str(PartialState(cpu=cpu, timeout=PATIENCE).device)


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
    parts = [part[:count] for part, count in zip(parts, counts, strict=True)]
    parts[rank()] = local
    return torch.cat(parts)

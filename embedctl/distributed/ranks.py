"""Rank and world size of this process, and exchange of values between the processes of a job.

Without a process group, a process has rank 0 and the world size is 1. Every rank must call a function that exchanges
values. With one process such a function returns its input.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

# A rank may wait long for another one, for example for its shards. If one fails, the launcher ends all of them.
TIMEOUT = timedelta(days=30)
T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Return whether this is rank 0, which prints messages and writes the files that all ranks share."""
    return rank() == 0


def owns(index: int) -> bool:
    """Return whether item `index` of the work is assigned to this rank."""
    return index % world_size() == rank()


def init_distributed(*, cpu: bool) -> str:
    """Join the process group that the launcher describes in the environment, and return the device of this rank."""
    from accelerate import PartialState

    return str(PartialState(cpu=cpu, timeout=TIMEOUT).device)


def barrier() -> None:
    """Wait until all ranks have called this function."""
    if world_size() > 1:
        dist.barrier()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set on at least one rank."""
    if world_size() == 1:
        return flag
    count = torch.tensor([int(flag)], device=device)
    dist.all_reduce(count)
    return bool(count.item())


def broadcast(value: T) -> T:
    """Return the value of rank 0 on every rank."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def gather_values(value: T) -> list[T]:
    """Return the values of all ranks on every rank, in the order of the ranks."""
    values = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
    return values


def gather_vectors(local: Tensor, counts: list[int]) -> Tensor:
    """Return the vectors (sum(counts), H) of all ranks in their order; `local` (counts[rank], H) are this rank's.

    Gradients flow to this rank's own vectors only. Each rank computes the loss of the whole batch from the result and
    multiplies it by the world size. After the average over the ranks, the gradients then equal those of one process.
    """
    if world_size() == 1:
        return local
    longest = max(counts)
    padded = local.new_zeros(longest, local.shape[1])
    padded[: len(local)] = local.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    parts = [part[:count] for part, count in zip(parts, counts, strict=True)]
    parts[rank()] = local
    return torch.cat(parts)

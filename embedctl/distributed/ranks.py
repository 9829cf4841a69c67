"""Rank and world size of this process. Without a process group it is rank 0 of 1."""

from __future__ import annotations

from datetime import timedelta

import torch.distributed as dist

PATIENCE = timedelta(days=30)  # a rank may wait for another one's shards; a dead rank ends all through the launcher


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

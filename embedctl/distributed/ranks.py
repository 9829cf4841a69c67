"""The processes of one job: which of them this is, and the few words they exchange. Alone, nothing is exchanged.

Started by launch.py through accelerate, each rank encodes shards of its own; accelerate's PartialState gives the rank,
its device and the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

PATIENCE = timedelta(days=30)  # a rank may wait for another one's shards; a dead rank ends all through the launcher
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among `world` of them, and the device it is given."""

    rank: int = 0
    world: int = 1
    device: str | None = None

    @classmethod
    def join(cls, *, cpu: bool) -> Ranks:
        """Meet the other ranks; the launcher's environment says where."""
        from accelerate import PartialState

        state = PartialState(cpu=cpu, timeout=PATIENCE)
        return cls(state.process_index, state.num_processes, str(state.device))

    @property
    def first(self) -> bool:
        """Whether this is the rank that speaks, and writes what there is one of."""
        return self.rank == 0

    def owns(self, place: int) -> bool:
        """Whether shard `place` is this rank's."""
        return place % self.world == self.rank

    def share(self, value: T) -> T:
        """The first rank's value, on every rank; a collective."""
        if self.world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        shared: list[T] = broadcast_object_list([value])
        return shared[0]

    def total(self, number: int) -> int:
        """The sum over all ranks; a collective, so that after it every rank has come this far."""
        if self.world == 1:
            return number
        from accelerate.utils import gather_object

        numbers: list[Any] = gather_object([number])
        return sum(numbers)


ALONE = Ranks()

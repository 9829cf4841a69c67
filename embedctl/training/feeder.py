"""Batches ready for the device, made ahead on a thread of their own, and the schedule that says which."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from embedctl.data.batches import BatchPlan
from embedctl.data.store import TextStore
from embedctl.distributed.ranks import rank, world_size
from embedctl.tokens.pipeline import prefetch_map
from embedctl.training.session import Session
from embedctl.training.step import Prepared, deal
from embedctl.training.targets import Weights

AHEAD = 2  # batches made before they are needed


@dataclass(frozen=True)
class Schedule:
    """Which batches make up which update."""

    batches_per_epoch: int  # batches that an epoch has
    accumulation: int  # batches an update; the last update of an epoch takes what is left
    epochs: int  # of the run
    max_steps: int | None = None  # updates after which the run ends, or None

    @property
    def updates_per_epoch(self) -> int:
        """Updates that an epoch has."""
        return -(-self.batches_per_epoch // self.accumulation)

    @property
    def total(self) -> int:
        """Updates of the run; `max_steps` may ask for more than the epochs have."""
        return self.max_steps or self.updates_per_epoch * self.epochs

    def batches(self, update: int) -> list[tuple[int, int]]:
        """Epoch and step within it of each batch of an update."""
        epoch, within = divmod(update, self.updates_per_epoch)
        first = within * self.accumulation
        return [(epoch, step) for step in range(first, min(first + self.accumulation, self.batches_per_epoch))]

    def epoch(self, update: int) -> int:
        """The epoch of an update."""
        return update // self.updates_per_epoch

    def ends_epoch(self, update: int) -> bool:
        """Whether an epoch is over after this update."""
        return (update + 1) % self.updates_per_epoch == 0


@dataclass(frozen=True)
class Feeder:
    """Makes the batches of a run."""

    session: Session  # whose model takes them
    plan: BatchPlan  # which rows meet
    texts: TextStore  # their tokens
    in_batch: str  # which of a batch's texts are negatives
    # gives the batches of an epoch that begins, or goes on, at an update, when the updates before are done; None if
    # `plan` holds for all epochs
    renew: Callable[[int, int], BatchPlan] | None = None

    def prepare(self, epoch: int, step: int) -> Prepared:
        """The batch of a step, with this rank's share of its texts as features on the device."""
        batch = self.plan.batch(epoch, step)
        embedder = self.session.embedder
        tokens = self.texts.tokens_of(batch.texts)
        share = deal(tokens.lengths, self.session.chunk, padded=not embedder.packed, ranks=world_size(), own=rank())
        stand_in = share.order[:1]  # what a rank without a text of its own runs, to keep step with the others
        chunks = [tokens.take(chunk if len(chunk) else stand_in) for chunk in share.chunks]
        features = [embedder.features(chunk) for chunk in chunks]
        total = int(tokens.lengths.sum())
        keep = world_size() == 1 and total <= self.session.budget
        return Prepared(batch, share, features, Weights.of(batch, self.in_batch), total, keep)

    def updates(self, schedule: Schedule, start: int) -> Generator[tuple[int, list[Prepared]]]:
        """The batches of each update from `start` on."""
        updates = range(start, schedule.total)
        if self.renew is None:
            yield from self._in_turn(schedule, updates)
            return
        for epoch, part in groupby(updates, schedule.epoch):
            own = list(part)
            feeder = replace(self, plan=self.renew(epoch, own[0]))
            yield from feeder._in_turn(schedule, own)

    def _in_turn(self, schedule: Schedule, updates: Sequence[int]) -> Iterator[tuple[int, list[Prepared]]]:
        """The batches of these updates, some made ahead, none of any other."""
        places = (place for update in updates for place in schedule.batches(update))
        with contextlib.closing(prefetch_map(lambda place: self.prepare(*place), places, AHEAD)) as made:
            for update in updates:
                yield update, [next(made) for _ in schedule.batches(update)]

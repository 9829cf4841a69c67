"""Order of the batches of a run, and their preparation on a background thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from embedctl.data.batches import BatchPlan
from embedctl.data.store import TextStore
from embedctl.distributed.ranks import rank, world_size
from embedctl.tokens.pipeline import prefetch_map
from embedctl.training.gradcache import PreparedBatch, partition_texts
from embedctl.training.session import Session
from embedctl.training.targets import CandidateWeights

PREFETCH_BATCHES = 2


@dataclass(frozen=True)
class Schedule:
    """Number of steps of a run, and the batches of each step. Epochs, steps and batches are counted from 0."""

    batches_per_epoch: int
    accumulation: int  # batches per step; the last step of an epoch has those that remain
    epochs: int
    max_steps: int | None = None  # number of steps of the run; None: those of the epochs

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps per epoch."""
        return -(-self.batches_per_epoch // self.accumulation)

    @property
    def total_steps(self) -> int:
        """Number of steps of the run; with `max_steps` the run can be longer than `epochs`."""
        return self.max_steps or self.steps_per_epoch * self.epochs

    def batches(self, step: int) -> list[tuple[int, int]]:
        """Return the epoch, and the batch index within it, of each batch of a step."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        first = step_in_epoch * self.accumulation
        return [(epoch, index) for index in range(first, min(first + self.accumulation, self.batches_per_epoch))]

    def epoch(self, step: int) -> int:
        """Return the epoch of a step."""
        return step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Return whether a step is the last one of its epoch."""
        return (step + 1) % self.steps_per_epoch == 0


@dataclass(frozen=True)
class BatchLoader:
    """Prepares the batches of a run."""

    session: Session  # the model and the token budget
    plan: BatchPlan  # the rows of each batch
    texts: TextStore  # the tokens of the texts
    in_batch: str  # value of --in-batch
    # Returns the plan of an epoch, given the epoch and its first step in this process; called when all earlier steps
    # are done. None: `plan` is used for all epochs.
    plan_of_epoch: Callable[[int, int], BatchPlan] | None = None

    def prepare(self, epoch: int, index: int) -> PreparedBatch:
        """Return batch `index` of an epoch, with this rank's texts as model inputs on the device."""
        batch = self.plan.batch(epoch, index)
        embedder, budget = self.session.embedder, self.session.chunk_tokens
        tokens = self.texts.tokens_of(batch.texts)
        partition = partition_texts(tokens.lengths, budget, padded=not embedder.packed, ranks=world_size(), rank=rank())
        # All ranks must run equally many forward passes; a rank without a text in a chunk encodes this one instead.
        chunks = [chunk if len(chunk) else partition.order[:1] for chunk in partition.chunks]
        features = [embedder.features(tokens.take(chunk)) for chunk in chunks]
        total = int(tokens.lengths.sum())
        keep_graphs = world_size() == 1 and total <= self.session.budget
        weights = CandidateWeights.from_batch(batch, self.in_batch)
        return PreparedBatch(batch, partition, features, weights, total, keep_graphs)

    def steps(self, schedule: Schedule, start: int) -> Generator[tuple[int, list[PreparedBatch]]]:
        """Yield each step from `start` on, with its batches."""
        steps = range(start, schedule.total_steps)
        if self.plan_of_epoch is None:
            yield from self._prefetch(schedule, steps)
            return
        for epoch, group in groupby(steps, schedule.epoch):
            steps_of_epoch = list(group)
            loader = replace(self, plan=self.plan_of_epoch(epoch, steps_of_epoch[0]))
            yield from loader._prefetch(schedule, steps_of_epoch)

    def _prefetch(self, schedule: Schedule, steps: Sequence[int]) -> Iterator[tuple[int, list[PreparedBatch]]]:
        """Yield these steps with their batches; batches of other steps are not prefetched."""
        indices = (index for step in steps for index in schedule.batches(step))
        with contextlib.closing(prefetch_map(lambda index: self.prepare(*index), indices, PREFETCH_BATCHES)) as batches:
            for step in steps:
                yield step, [next(batches) for _ in schedule.batches(step)]

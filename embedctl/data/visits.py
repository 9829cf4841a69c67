"""Which row, and which of its positives, each visit of an epoch is for: a pure function of the seed.

An epoch has a number of visits per file, numbered file after file. A file is gone through unit by unit, where a unit is
a row, or one positive of a row if positives are exploded; in a new random order each time all units were visited.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from embedctl.data.store import RowStore
from embedctl.distributed.random import random_bits, shuffled
from embedctl.tokens.spans import Integers, Spans


@dataclass(frozen=True)
class BatchSettings:
    """How rows are drawn."""

    batch_size: int  # queries of a step over all ranks
    neg_nums: int  # hard negatives of a query
    seed: int  # of everything random
    explode: bool = False  # whether each positive is a visit of its own
    one_dataset_per_batch: bool = False  # whether a batch's rows come from one file
    weights: tuple[float, ...] = ()  # visits of each row and epoch, by file; 1 where there are none

    def key(self, *parts: int) -> int:
        """A random number that follows from the seed and from what it is for."""
        return int(random_bits(self.seed, *parts)[0])


class Visits:
    """The visits of all epochs."""

    def __init__(self, rows: RowStore, settings: BatchSettings) -> None:
        self.rows, self.settings = rows, settings
        self.positive_ends = rows.positive_ends
        files = int(rows.source[-1]) + 1
        borders = self._first_unit(np.searchsorted(rows.source, np.arange(files + 1, dtype=rows.source.dtype)))
        self.units = Spans(borders[:-1], np.diff(borders))
        weights = np.array(settings.weights or (1.0,) * files)
        self.by_file = Spans.from_lengths(np.rint(self.units.lengths * weights).astype(np.int64))

    def at(self, epoch: int, visits: Integers) -> tuple[Integers, Integers]:
        """Row and positive of each of some visits of an epoch."""
        file, place = self.by_file.locate(visits)
        units = self.units.lengths[file]
        turn, place = np.divmod(place + epoch * self.by_file.lengths[file], units)
        unit = self.units.starts[file]
        order = turn * len(self.units) + file
        for number in np.unique(order).tolist():
            (now, one), mine = divmod(number, len(self.units)), order == number
            unit[mine] += shuffled(place[mine], int(self.units.lengths[one]), self.settings.key(now, 3, one))
        if self.settings.explode:
            row = np.searchsorted(self.positive_ends, unit, side="right")
            return row, unit - self._first_unit(row)
        positives = self.rows.positives(unit).lengths
        first = (random_bits(self.settings.seed, 4, unit) % positives.astype(np.uint64)).astype(np.int64)
        return unit, (first + turn) % positives

    def _first_unit(self, row: Integers) -> Integers:
        """The number of each row's first unit."""
        if not self.settings.explode:
            return row
        return np.where(row > 0, self.positive_ends[np.maximum(row, 1) - 1], 0)


def order_without_duplicates(positive: Integers, query: Integers, sizes: Integers) -> Integers:
    """An order of the visits in which consecutive batches of `sizes` hold no positive and no query twice, if possible.

    A visit that would repeat one waits for a later batch; those that are left over at the end stand in the last ones.
    """
    texts = list(zip(positive.tolist(), query.tolist(), strict=True))  # no text is both: roles have ids of their own
    order: list[int] = []
    waiting: list[int] = []
    fresh = iter(range(len(texts)))
    for size in sizes.tolist():
        first, chosen, repeats, taken = iter(waiting), list[int](), list[int](), set[int]()
        for visit in chain(first, fresh):
            if taken.isdisjoint(texts[visit]):
                chosen.append(visit)
                taken.update(texts[visit])
            else:
                repeats.append(visit)
            if len(chosen) == size:
                break
        waiting = [*repeats, *first]
        missing = size - len(chosen)
        order += [*chosen, *waiting[:missing]]
        waiting = waiting[missing:]
    return np.array(order, dtype=np.int64)

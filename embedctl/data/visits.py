"""The visits of an epoch: which row and which of its positives each visit uses, as a pure function of the seed.

The number of visits per file and epoch depends on the weight of the file. Visits are numbered from 0, file after file.
A unit is what one visit uses: a row, or with `--positives explode` one positive of a row (a graded row is one unit).
A cycle visits each unit of a file once, in a random order that differs between cycles. A cycle can be longer or shorter
than an epoch.
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
    """Settings of the order of the rows and of the content of batches."""

    batch_size: int  # queries per batch, over all ranks
    neg_nums: int  # hard negatives per query
    seed: int  # of all random choices
    explode: bool = False  # whether each positive has its own visit
    one_dataset_per_batch: bool = False  # whether all rows of a batch are from the same file
    weights: tuple[float, ...] = ()  # visits per row and epoch, for each file; if empty, 1

    def key(self, *purpose: int) -> int:
        """Return a random number that depends on the seed and on the numbers that identify its purpose."""
        return int(random_bits(self.seed, *purpose)[0])


class Visits:
    """The units of each file, and the visits of each file in an epoch (`by_file`), as one span per file."""

    def __init__(self, rows: RowStore, settings: BatchSettings) -> None:
        self.rows, self.settings = rows, settings
        files = int(rows.source[-1]) + 1
        first_unit = self._first_unit(np.searchsorted(rows.source, np.arange(files + 1, dtype=rows.source.dtype)))
        self.units = Spans(first_unit[:-1], np.diff(first_unit))
        weights = np.array(settings.weights or (1.0,) * files)
        self.by_file = Spans.from_lengths(np.rint(self.units.lengths * weights).astype(np.int64))

    def rows_and_positives(self, epoch: int, visits: Integers) -> tuple[Integers, Integers]:
        """Return the row (N,) of each of N visits of an epoch, and the index (N,) of its positive within the row."""
        file, offset = self.by_file.locate(visits)
        cycle, offset = np.divmod(offset + epoch * self.by_file.lengths[file], self.units.lengths[file])
        unit = self.units.starts[file]
        permutation = cycle * len(self.units) + file  # one per cycle and file
        for number in np.unique(permutation).tolist():
            (one_cycle, one_file), selected = divmod(number, len(self.units)), permutation == number
            key, size = self.settings.key(one_cycle, 3, one_file), int(self.units.lengths[one_file])
            unit[selected] += shuffled(offset[selected], size, key)
        if self.settings.explode:
            row = np.searchsorted(self.rows.positive_ends, unit, side="right")
            return row, unit - self._first_unit(row)
        # The first cycle uses a random positive of each row, and each later cycle uses the next one.
        positives = self.rows.positives(unit).lengths
        first = (random_bits(self.settings.seed, 4, unit) % positives.astype(np.uint64)).astype(np.int64)
        return unit, (first + cycle) % positives

    def _first_unit(self, row: Integers) -> Integers:
        """Return the index (N,) of the first unit of each of N rows (N,)."""
        if not self.settings.explode:
            return row
        return np.where(row > 0, self.rows.positive_ends[np.maximum(row, 1) - 1], 0)


def order_without_duplicates(positive: Integers, query: Integers, sizes: Integers) -> Integers:
    """Return an order of visits in which no batch contains a positive or a query twice, if possible.

    A visit whose positive or query is already in the batch is moved to a later batch. Visits for which no such batch is
    left fill the last batches, where duplicates are then possible. `positive` (N,) and `query` (N,) are the text ids of
    the N visits, and `sizes` are the sizes of the batches, whose sum is N.
    """
    # One set holds both positives and queries of a batch: a query and a positive never have the same text id.
    texts = list(zip(positive.tolist(), query.tolist(), strict=True))
    order: list[int] = []
    postponed: list[int] = []
    new_visits = iter(range(len(texts)))
    for size in sizes.tolist():
        earlier, chosen, duplicates, used = iter(postponed), list[int](), list[int](), set[int]()
        for visit in chain(earlier, new_visits):
            if used.isdisjoint(texts[visit]):
                chosen.append(visit)
                used.update(texts[visit])
            else:
                duplicates.append(visit)
            if len(chosen) == size:
                break
        postponed = [*duplicates, *earlier]
        missing = size - len(chosen)
        order += [*chosen, *postponed[:missing]]
        postponed = postponed[missing:]
    return np.array(order, dtype=np.int64)

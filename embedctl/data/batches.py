"""Which texts meet in which step: a pure function of seed, epoch and step, the same for any number of processes.

A batch names the texts of the whole step, over all ranks; who encodes which of them is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embedctl.data.store import GRADED, RowStore
from embedctl.distributed.random import mix, ranks_within, shuffled
from embedctl.tokens.packing import Integers

WINDOW = 16  # batches among which rows are exchanged so that no positive stands twice in a batch


@dataclass(frozen=True)
class Batch:
    """Q queries and their candidates among D distinct documents.

    Args:
        texts: (U,) distinct text ids; queries and documents index them.
        query_Q: into `texts`.
        document_D: into `texts`.
        kind_Q: into `KINDS`.
        own_QC: into `document_D`: the positive (or graded texts), then the negatives; -1 for none.
        score_QC: teacher's score or grade of each, NaN for none.
        known_pairs: (M, 2) query and document where the document is a known positive of the query, not its own.
    """

    texts: Integers
    query_Q: Integers
    document_D: Integers
    kind_Q: NDArray[np.uint8]
    own_QC: Integers
    score_QC: NDArray[np.float32]
    known_pairs: Integers

    def __len__(self) -> int:
        return len(self.query_Q)


@dataclass(frozen=True)
class Mix:
    """How rows are drawn.

    Args:
        batch_size: queries of a step over all ranks.
        neg_nums: hard negatives of a query.
        seed: of everything random.
        explode: whether each positive is a visit of its own.
        one_dataset_per_batch: whether a batch's rows come from one file.
        weights: visits of each row and epoch, by file; 1 where there are none.
    """

    batch_size: int
    neg_nums: int
    seed: int
    explode: bool = False
    one_dataset_per_batch: bool = False
    weights: tuple[float, ...] = ()


class BatchPlan:
    """All batches of a run.

    Args:
        rows: what is drawn from.
        mixture: how.
    """

    def __init__(self, rows: RowStore, mixture: Mix) -> None:
        self.rows, self.mixture = rows, mixture
        self.index = rows.index
        sources = int(rows.source[-1]) + 1
        self.weights = np.array(mixture.weights or (1.0,) * sources)
        edges = np.searchsorted(rows.source, np.arange(sources + 1, dtype=rows.source.dtype))
        self.unit_edges = self._first_unit(edges)
        self.visits = np.rint(np.diff(self.unit_edges) * self.weights).astype(np.int64)
        pools = self.visits if mixture.one_dataset_per_batch else self.visits.sum(keepdims=True)
        self.pool_batches = -(-pools // mixture.batch_size)
        self.steps_per_epoch = int(self.pool_batches.sum())
        self._window = lru_cache(maxsize=4)(self._draw_window)

    def batch(self, epoch: int, step: int) -> Batch:
        """The batch of a step, `step` counted within the epoch."""
        place = step
        if self.mixture.one_dataset_per_batch:
            place = int(shuffled(np.array([step]), self.steps_per_epoch, self._key(epoch, 1))[0])
        pool = int(np.searchsorted(np.cumsum(self.pool_batches), place, side="right"))
        within = place - int(self.pool_batches[:pool].sum())
        window, offset = divmod(within, WINDOW)
        row, positive = self._window(epoch, pool, window)[offset]
        return self._assemble(epoch, row, positive)

    def _key(self, *parts: int) -> int:
        return int(mix(self.mixture.seed, *parts)[0])

    def _draw_window(self, epoch: int, pool: int, window: int) -> list[tuple[Integers, Integers]]:
        """Rows and positives of the batches of a window; batches differ in size by one at the most."""
        total = int(self.visits[pool] if self.mixture.one_dataset_per_batch else self.visits.sum())
        count = int(self.pool_batches[pool])
        borders = np.arange(window * WINDOW, min((window + 1) * WINDOW, count) + 1) * total // count
        visits = shuffled(np.arange(borders[0], borders[-1]), total, self._key(epoch, 2, pool))
        if self.mixture.one_dataset_per_batch:
            visits = visits + self.visits[:pool].sum()
        row, positive = self._rows_of(epoch, visits)
        order = without_repeats(self._positive_text(row, positive), self._query_of(row), np.diff(borders))
        pieces = np.split(order, np.cumsum(np.diff(borders))[:-1])
        return [(row[piece], positive[piece]) for piece in pieces]

    def _rows_of(self, epoch: int, visits: Integers) -> tuple[Integers, Integers]:
        """Row and positive of each visit of an epoch: a file is gone through in a new order each time it is used up."""
        ends = np.cumsum(self.visits)
        source = np.searchsorted(ends, visits, side="right")
        nth = visits - (ends - self.visits)[source] + epoch * self.visits[source]
        unit = np.empty(len(visits), dtype=np.int64)
        cycle = np.empty(len(visits), dtype=np.int64)
        for number in np.unique(source):
            first, size = self.unit_edges[number], self.unit_edges[number + 1] - self.unit_edges[number]
            mine = np.flatnonzero(source == number)
            cycle[mine] = nth[mine] // size
            for turn in np.unique(cycle[mine]):
                now = mine[cycle[mine] == turn]
                unit[now] = first + shuffled(nth[now] % size, int(size), self._key(int(turn), 3, int(number)))
        if self.mixture.explode:
            row = np.searchsorted(self.index.positive_ends, unit, side="right")
            return row, unit - self._first_unit(row)
        count = np.asarray(self.rows.pos_count[unit])
        turn_start = (mix(self.mixture.seed, 4, unit) % count.astype(np.uint64)).astype(np.int64)
        return unit, (turn_start + cycle) % count

    def _first_unit(self, row: Integers) -> Integers:
        """What a row's first visit is counted as: a unit is a row, or a positive if they are exploded."""
        if not self.mixture.explode:
            return row
        return np.where(row > 0, self.index.positive_ends[np.maximum(row, 1) - 1], 0)

    def _query_of(self, row: Integers) -> Integers:
        return np.asarray(self.rows.text[self.rows.bounds[row]])

    def _positive_text(self, row: Integers, positive: Integers) -> Integers:
        return np.asarray(self.rows.text[self.rows.bounds[row] + 1 + positive])

    def _assemble(self, epoch: int, row: Integers, positive: Integers) -> Batch:
        place_QC, none_QC = self._candidates(epoch, row, positive)
        text_QC = np.asarray(self.rows.text[np.where(none_QC, 0, place_QC)])
        score_QC = np.where(none_QC, np.nan, self.rows.score[np.where(none_QC, 0, place_QC)]).astype(np.float32)
        query = self._query_of(row)
        documents, own = np.unique(text_QC[~none_QC], return_inverse=True)
        own_QC = np.full(text_QC.shape, -1, dtype=np.int64)
        own_QC[~none_QC] = own
        texts = np.union1d(query, documents)
        return Batch(
            texts=texts,
            query_Q=np.searchsorted(texts, query),
            document_D=np.searchsorted(texts, documents),
            kind_Q=np.asarray(self.rows.kind[row]),
            own_QC=own_QC,
            score_QC=score_QC,
            known_pairs=self._known_pairs(query, documents, own_QC),
        )

    def _candidates(self, epoch: int, row: Integers, positive: Integers) -> tuple[Integers, NDArray[np.bool_]]:
        """Places in `rows.text` of each query's own candidates, (Q, 1 + neg_nums), and which of them are none."""
        first, count = np.asarray(self.rows.bounds[row]) + 1, np.asarray(self.rows.pos_count[row])
        graded = np.asarray(self.rows.kind[row]) == GRADED
        width = 1 + self.mixture.neg_nums
        negatives = np.asarray(self.rows.bounds[row + 1]) - first - count
        place_QC = np.zeros((len(row), width), dtype=np.int64)
        none_QC = np.ones(place_QC.shape, dtype=bool)
        place_QC[:, 0], none_QC[:, 0] = first + positive, False
        drawn, none = draw(
            np.where(graded, 0, negatives), self.mixture.neg_nums, (self.mixture.seed, epoch, 5), row, positive
        )
        place_QC[:, 1:], none_QC[:, 1:] = (first + count)[:, None] + drawn, none
        if graded.any():
            drawn, none = draw(
                count[graded], width, (self.mixture.seed, epoch, 6), row[graded], positive[graded], repeat=False
            )
            place_QC[graded], none_QC[graded] = first[graded, None] + drawn, none
        return place_QC, none_QC

    def _known_pairs(self, query: Integers, documents: Integers, own_QC: Integers) -> Integers:
        """(M, 2) pairs whose document some row lists as a positive of that query; a query's own is left out."""
        low, high = (np.searchsorted(self.index.sorted_query, query, side=side) for side in ("left", "right"))
        which = np.repeat(np.arange(len(query)), high - low)
        rows = self.index.rows_by_query[
            np.repeat(low - np.cumsum(high - low) + (high - low), high - low) + np.arange(len(which))
        ]
        keep = np.asarray(self.rows.kind[rows]) != GRADED
        which, rows = which[keep], rows[keep]
        count = np.asarray(self.rows.pos_count[rows])
        start = np.repeat(np.asarray(self.rows.bounds[rows]) + 1 - (np.cumsum(count) - count), count)
        text = np.asarray(self.rows.text[start + np.arange(len(start))])
        which = np.repeat(which, count)
        found = np.clip(np.searchsorted(documents, text), 0, len(documents) - 1)
        known = (documents[found] == text) & (found != own_QC[which, 0])
        return np.unique(np.stack([which[known], found[known]], axis=1), axis=0)


def draw(
    available: Integers, wanted: int, key: tuple[int, ...], row: Integers, visit: Integers, *, repeat: bool = True
) -> tuple[Integers, NDArray[np.bool_]]:
    """A random choice of `wanted` of each row's `available` items, anew for each key, row and visit.

    All of them in random order, and over again from the start, if there are fewer than wanted; with `repeat` off, the
    rest is none.

    Returns:
        (Q, wanted) item numbers, and (Q, wanted) where there is none.
    """
    groups = np.repeat(np.arange(len(row)), available)
    item = np.arange(len(groups)) - np.repeat(np.cumsum(available) - available, available)
    ranks = ranks_within(groups, mix(*key, row[groups], visit[groups], item))
    ordered = np.zeros((len(row), max(int(available.max(initial=0)), 1)), dtype=np.int64)
    ordered[groups, ranks] = item
    turn = np.arange(wanted)[None]
    none = (available[:, None] == 0) | ((turn >= available[:, None]) & (not repeat))
    chosen = np.take_along_axis(ordered, np.where(none, 0, turn % np.maximum(available[:, None], 1)), axis=1)
    return chosen, none


def without_repeats(positive: Integers, query: Integers, sizes: Integers) -> Integers:
    """An order of the visits in which consecutive batches of `sizes` hold no positive and no query twice, if possible.

    A visit that would repeat one waits for a later batch; those that are left over at the end stand in the last ones.
    """
    order: list[int] = []
    waiting: list[int] = []
    stream = iter(range(len(positive)))
    for size in sizes.tolist():
        taken: set[int] = set()
        chosen: list[int] = []
        waiting = [visit for visit in waiting if not _take(visit, positive, query, taken, chosen, size)]
        for visit in stream if len(chosen) < size else ():
            if not _take(visit, positive, query, taken, chosen, size):
                waiting.append(visit)
            if len(chosen) == size:
                break
        spill = size - len(chosen)
        chosen += waiting[:spill]
        waiting = waiting[spill:]
        order += chosen
    return np.array(order, dtype=np.int64)


def _take(visit: int, positive: Integers, query: Integers, taken: set[int], chosen: list[int], size: int) -> bool:
    """Put a visit into the batch unless it is full or repeats a text; texts of both roles have ids of their own."""
    texts = {int(positive[visit]), int(query[visit])}
    if len(chosen) == size or texts & taken:
        return False
    taken |= texts
    chosen.append(visit)
    return True

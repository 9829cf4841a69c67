"""Which texts meet in which step: a pure function of seed, epoch and step, the same for any number of processes.

A batch names the texts of the whole step, over all ranks; who encodes which of them is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from embedctl.data.store import GRADED, RowStore
from embedctl.data.visits import BatchSettings, Visits, order_without_duplicates
from embedctl.distributed.random import random_bits, shuffled
from embedctl.tokens.spans import Integers, Spans, find_in_sorted

WINDOW = 16  # batches among which rows are exchanged so that no positive stands twice in a batch


@dataclass(frozen=True)
class Batch:
    """Q queries and their candidates among D distinct documents."""

    texts: Integers  # (U,) distinct text ids; queries and documents index them
    query_Q: Integers  # into `texts`
    document_D: Integers  # into `texts`
    kind_Q: NDArray[np.uint8]  # into `KINDS`
    own_QC: Integers  # into `document_D`: the positive (or graded texts), then the negatives; -1 for none
    score_QC: NDArray[np.float32]  # teacher's score or grade of each, NaN for none
    known_positives: Integers  # (M, 2) query and document where the document is a known positive of the query, not its own

    def __len__(self) -> int:
        return len(self.query_Q)


class BatchPlan:
    """All batches of a run."""

    def __init__(self, rows: RowStore, settings: BatchSettings) -> None:
        self.rows, self.settings = rows, settings
        self.visits = Visits(rows, settings)
        visits = self.visits.by_file.lengths
        self.pools = Spans.from_lengths(visits if settings.one_dataset_per_batch else visits.sum(keepdims=True))
        self.batches = Spans.from_lengths(-(-self.pools.lengths // settings.batch_size))
        self.steps_per_epoch = int(self.batches.lengths.sum())
        self._window = lru_cache(maxsize=4)(self._draw_window)

    def batch(self, epoch: int, step: int) -> Batch:
        """The batch of a step, `step` counted within the epoch."""
        place = np.array([step])
        if self.settings.one_dataset_per_batch:
            place = shuffled(place, self.steps_per_epoch, self.settings.key(epoch, 1))
        pool, within = (int(found[0]) for found in self.batches.locate(place))
        window, offset = divmod(within, WINDOW)
        row, positive = self._window(epoch, pool, window)[offset]
        return self._assemble(row, self._candidates(epoch, row, positive))

    def _draw_window(self, epoch: int, pool: int, window: int) -> list[tuple[Integers, Integers]]:
        """Rows and positives of the batches of a window; batches differ in size by one at the most."""
        size, batches = int(self.pools.lengths[pool]), int(self.batches.lengths[pool])
        borders = np.arange(window * WINDOW, min((window + 1) * WINDOW, batches) + 1) * size // batches
        places = shuffled(np.arange(borders[0], borders[-1]), size, self.settings.key(epoch, 2, pool))
        row, positive = self.visits.at(epoch, self.pools.starts[pool] + places)
        text = np.asarray(self.rows.text[self.rows.positives(row).starts + positive])
        order = order_without_duplicates(text, self.rows.query_of(row), np.diff(borders))
        return [(row[piece], positive[piece]) for piece in np.split(order, borders[1:-1] - borders[0])]

    def _candidates(self, epoch: int, row: Integers, positive: Integers) -> Integers:
        """(Q, 1 + neg_nums) places in `rows.text` of each query's own candidates, -1 for none.

        They are the positive, then negatives; of a graded row any of its texts, each once.
        """
        seed, wanted, graded = self.settings.seed, self.settings.neg_nums, self.rows.kind[row] == GRADED
        place_QC = np.full((len(row), 1 + wanted), -1)
        ungraded, visit = row[~graded], positive[~graded]
        place_QC[~graded, 0] = self.rows.positives(ungraded).starts + visit
        place_QC[~graded, 1:] = draw(self.rows.negatives(ungraded), wanted, (seed, epoch, 5), ungraded, visit)
        if graded.any():
            texts, key = self.rows.positives(row[graded]), (seed, epoch, 6)
            place_QC[graded] = draw(texts, 1 + wanted, key, row[graded], positive[graded], repeat=False)
        return place_QC

    def _assemble(self, row: Integers, place_QC: Integers) -> Batch:
        """The batch of these rows' queries and of the candidates at these places."""
        query, there = self.rows.query_of(row), place_QC >= 0
        own_QC, score_QC = np.full(there.shape, -1), np.full(there.shape, np.nan, dtype=np.float32)
        documents, own_QC[there] = np.unique(self.rows.text[place_QC[there]], return_inverse=True)
        score_QC[there] = self.rows.score[place_QC[there]]
        texts = np.union1d(query, documents)
        return Batch(
            texts=texts,
            query_Q=np.searchsorted(texts, query),
            document_D=np.searchsorted(texts, documents),
            kind_Q=np.asarray(self.rows.kind[row]),
            own_QC=own_QC,
            score_QC=score_QC,
            known_positives=self._known_pairs(query, documents, own_QC[:, 0]),
        )

    def _known_pairs(self, query: Integers, documents: Integers, own_Q: Integers) -> Integers:
        """(M, 2) pairs whose document some row lists as a positive of that query; a query's own is left out."""
        which, row = self.rows.by_query.find(query)
        ungraded = self.rows.kind[row] != GRADED
        which, positives = which[ungraded], self.rows.positives(row[ungraded])
        which, document = which[positives.span_indices], find_in_sorted(documents, positives.take(self.rows.text))
        known = (document >= 0) & (document != own_Q[which])
        pairs = np.unique(which[known] * len(documents) + document[known])  # faster than of pairs as rows
        return np.stack(np.divmod(pairs, len(documents)), axis=1)


def draw(
    spans: Spans, wanted: int, key: tuple[int, ...], row: Integers, visit: Integers, *, repeat: bool = True
) -> Integers:
    """(Q, wanted) a random choice of places of each row's span, anew for each key, row and visit; -1 for none.

    All of them in random order, and over again from the start, if there are fewer than wanted; with `repeat` off, the
    rest is none.
    """
    owner, places = spans.span_indices, spans.indices
    order = np.lexsort((random_bits(*key, row[owner], visit[owner], places - spans.starts[owner]), owner))
    reordered, first_Q = places[order], Spans.from_lengths(spans.lengths).starts
    turn, length_Q1 = np.arange(wanted), spans.lengths[:, None]
    there = (length_Q1 > 0) & ((turn < length_Q1) | repeat)
    chosen = np.full(there.shape, -1)
    chosen[there] = reordered[(first_Q[:, None] + turn % np.maximum(length_Q1, 1))[there]]
    return chosen

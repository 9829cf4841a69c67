"""The batches of training: which queries and candidates each batch contains.

A batch is a pure function of seed, epoch and its index in the epoch, so it does not depend on the number of processes.
It contains the texts of all ranks.
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

WINDOW = 16  # number of consecutive batches among which visits are exchanged to avoid duplicates within a batch


@dataclass(frozen=True)
class Batch:
    """Q queries and their candidates, which are among D distinct documents."""

    texts: Integers  # (U,) distinct text ids of queries and documents, in ascending order
    query_Q: Integers  # index into `texts` of each query
    document_D: Integers  # index into `texts` of each document
    kind_Q: NDArray[np.uint8]  # index into `KINDS` of each query's row
    # Candidates from the row of each query, as indices into `document_D`, -1 for none: the positive and then the
    # negatives, or the graded texts of a graded row.
    own_QC: Integers
    score_QC: NDArray[np.float32]  # teacher score or grade of each candidate, NaN for none
    known_positives: Integers  # (M, 2) pairs of query and document: known positives other than the query's own positive

    def __len__(self) -> int:
        return len(self.query_Q)


class BatchPlan:
    """All batches of a run.

    The visits of an epoch are divided into pools, and each batch takes its visits from one pool. There is one pool per
    file with `--one-dataset-per-batch`, else one pool for all files. `pools` and `batches` are the visits and the
    batches of each pool in an epoch, as one span per pool.
    """

    def __init__(self, rows: RowStore, settings: BatchSettings) -> None:
        self.rows, self.settings = rows, settings
        self.visits = Visits(rows, settings)
        visits = self.visits.by_file.lengths
        self.pools = Spans.from_lengths(visits if settings.one_dataset_per_batch else visits.sum(keepdims=True))
        self.batches = Spans.from_lengths(-(-self.pools.lengths // settings.batch_size))
        self.batches_per_epoch = int(self.batches.lengths.sum())
        self._window = lru_cache(maxsize=4)(self._sample_window)

    def batch(self, epoch: int, index: int) -> Batch:
        """Return the batch with this index in the epoch."""
        batch = np.array([index])
        if self.settings.one_dataset_per_batch:
            batch = shuffled(batch, self.batches_per_epoch, self.settings.key(epoch, 1))  # random order of the files
        pool, index_in_pool = (int(found[0]) for found in self.batches.locate(batch))
        window, index_in_window = divmod(index_in_pool, WINDOW)
        row, positive = self._window(epoch, pool, window)[index_in_window]
        return self._assemble(row, self._candidates(epoch, row, positive))

    def _sample_window(self, epoch: int, pool: int, window: int) -> list[tuple[Integers, Integers]]:
        """Return the rows and positives of each batch of a window. The sizes of batches differ by at most 1."""
        size, batches = int(self.pools.lengths[pool]), int(self.batches.lengths[pool])
        bounds = np.arange(window * WINDOW, min((window + 1) * WINDOW, batches) + 1) * size // batches
        visits = shuffled(np.arange(bounds[0], bounds[-1]), size, self.settings.key(epoch, 2, pool))
        row, positive = self.visits.rows_and_positives(epoch, self.pools.starts[pool] + visits)
        positive_ids = np.asarray(self.rows.text_ids[self.rows.positives(row).starts + positive])
        order = order_without_duplicates(positive_ids, self.rows.query_ids_of(row), np.diff(bounds))
        return [(row[batch], positive[batch]) for batch in np.split(order, bounds[1:-1] - bounds[0])]

    def _candidates(self, epoch: int, row: Integers, positive: Integers) -> Integers:
        """Return the candidates (Q, 1 + neg_nums) from the row of each query.

        They are indices into `rows.text_ids`, -1 for none: the positive, then a sample of the negatives. For a graded
        row they are a sample of its graded texts, each at most once.
        """
        seed, neg_nums, graded = self.settings.seed, self.settings.neg_nums, self.rows.kind[row] == GRADED
        index_QC = np.full((len(row), 1 + neg_nums), -1)
        ungraded, visit = row[~graded], positive[~graded]
        index_QC[~graded, 0] = self.rows.positives(ungraded).starts + visit
        index_QC[~graded, 1:] = sample(self.rows.negatives(ungraded), neg_nums, (seed, epoch, 5), ungraded, visit)
        if graded.any():
            texts, key = self.rows.positives(row[graded]), (seed, epoch, 6)
            index_QC[graded] = sample(texts, 1 + neg_nums, key, row[graded], positive[graded], repeat=False)
        return index_QC

    def _assemble(self, row: Integers, index_QC: Integers) -> Batch:
        """Return the batch of the queries of some rows and of their candidates, see `_candidates`."""
        query_ids, exists = self.rows.query_ids_of(row), index_QC >= 0
        own_QC, score_QC = np.full(exists.shape, -1), np.full(exists.shape, np.nan, dtype=np.float32)
        document_ids, own_QC[exists] = np.unique(self.rows.text_ids[index_QC[exists]], return_inverse=True)
        score_QC[exists] = self.rows.score[index_QC[exists]]
        texts = np.union1d(query_ids, document_ids)
        return Batch(
            texts=texts,
            query_Q=np.searchsorted(texts, query_ids),
            document_D=np.searchsorted(texts, document_ids),
            kind_Q=np.asarray(self.rows.kind[row]),
            own_QC=own_QC,
            score_QC=score_QC,
            known_positives=self._known_positives(query_ids, document_ids, own_QC[:, 0]),
        )

    def _known_positives(self, query_ids: Integers, document_ids: Integers, own_Q: Integers) -> Integers:
        """Return the pairs (M, 2) of query and document where any row lists the document as a positive of the query.

        The positive that the batch uses for the query is left out: `own_Q` is its index into `document_ids`. The texts
        of graded rows do not count as positives.
        """
        query_index, row = self.rows.by_query.find(query_ids)
        ungraded = self.rows.kind[row] != GRADED
        query_index, positives = query_index[ungraded], self.rows.positives(row[ungraded])
        query_index = query_index[positives.span_indices]
        document = find_in_sorted(document_ids, positives.take(self.rows.text_ids))
        known = (document >= 0) & (document != own_Q[query_index])
        # A pair is encoded as one integer, because np.unique of integers is faster than np.unique of rows.
        pairs = np.unique(query_index[known] * len(document_ids) + document[known])
        return np.stack(np.divmod(pairs, len(document_ids)), axis=1)


def sample(
    spans: Spans, count: int, key: tuple[int, ...], row: Integers, visit: Integers, *, repeat: bool = True
) -> Integers:
    """Return a random sample (Q, count) of the indices of each of Q spans, without replacement; -1 for none.

    If a span has fewer than `count` indices, the sample contains all of them in random order, and then the same order
    again until it is full. Without `repeat`, the rest is -1 instead. The random order is determined by `key`, the row
    of each span (Q,) and `visit` (Q,), a number that differs between visits of the same row.
    """
    span, index = spans.span_indices, spans.indices
    order = np.lexsort((random_bits(*key, row[span], visit[span], index - spans.starts[span]), span))
    shuffled_index, first_Q = index[order], Spans.from_lengths(spans.lengths).starts
    column, length_Q1 = np.arange(count), spans.lengths[:, None]
    exists = (length_Q1 > 0) & ((column < length_Q1) | repeat)
    chosen = np.full(exists.shape, -1)
    chosen[exists] = shuffled_index[(first_Q[:, None] + column % np.maximum(length_Q1, 1))[exists]]
    return chosen

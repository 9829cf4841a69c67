"""The rows and positives of the visits of an epoch, and their order."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, RowStore
from embedctl.data.visits import BatchSettings, Visits, order_without_duplicates
from tests.data.stores import row_store


def rows() -> RowStore:
    """Return ten rows with 1 to 3 positives: six of one file and four of another. Row 8 is graded and has 3 texts."""
    pos = np.arange(10) % 3 + 1
    bounds, kind = np.concatenate([[0], np.cumsum(1 + pos)]), np.zeros(10, np.uint8)
    kind[8] = KINDS.index(RowKind.GRADED)
    text, source = np.arange(bounds[-1]), (np.arange(10) >= 6).astype(np.int32)
    return row_store(kind, source, bounds, pos, text, np.zeros(bounds[-1], np.float32))


ROWS = [(row, 0) for row in range(10)]
EXPLODED = [(row, pos) for row in range(10) for pos in range(row % 3 + 1 if row != 8 else 1)]


@pytest.mark.parametrize(("explode", "units", "first"), [(False, ROWS, 6), (True, EXPLODED, 12)])
def test_each_cycle_visits_all_units_of_a_file_in_a_new_order(explode, units, first):
    """An epoch visits half of the first file, and the second file twice."""
    visits = Visits(rows(), BatchSettings(4, 1, seed=3, explode=explode, weights=(0.5, 2.0)))
    half, second = first // 2, len(units) - first
    assert visits.by_file.lengths.tolist() == [half, 2 * second]
    epochs = []
    for epoch in range(4):
        row, positive = visits.rows_and_positives(epoch, np.arange(half + 2 * second))
        epochs.append(list(zip(row.tolist(), positive.tolist() if explode else [0] * len(row), strict=True)))
    cycles = [epochs[epoch][:half] + epochs[epoch + 1][:half] for epoch in (0, 2)]
    assert sorted(cycles[0]) == sorted(cycles[1]) == units[:first]
    assert cycles[0] != cycles[1]
    for epoch in epochs:
        one, two = epoch[half : half + second], epoch[half + second :]
        assert sorted(one) == sorted(two) == units[first:]


def test_all_positives_are_visited_over_the_epochs_without_explode():
    store = rows()
    visits = Visits(store, BatchSettings(4, 1, seed=3))
    seen = {pair for epoch in range(3) for pair in zip(*visits.rows_and_positives(epoch, np.arange(10)), strict=True)}
    assert seen == {(row, pos) for row in range(10) for pos in range(store.pos_count[row])}


def test_a_batch_contains_no_positive_and_no_query_twice():
    positive, query = np.array([7, 7, 8, 9, 7, 10]), np.array([1, 2, 3, 3, 4, 5])
    order = order_without_duplicates(positive, query, np.array([2, 2, 2]))
    assert sorted(order.tolist()) == list(range(6))
    for start in (0, 2, 4):
        pair = order[start : start + 2]
        assert len(set(positive[pair])) == 2
        assert len(set(query[pair])) == 2


def test_visits_with_unavoidable_duplicates_are_kept():
    order = order_without_duplicates(np.array([7, 7, 7]), np.array([1, 2, 3]), np.array([2, 1]))
    assert sorted(order.tolist()) == [0, 1, 2]


def test_a_query_with_more_visits_than_batches_is_spread_evenly():
    query = np.array([1] * 16 + list(range(2, 10)))
    order = order_without_duplicates(np.arange(100, 124), query, np.full(6, 4))
    assert sorted(order.tolist()) == list(range(24))
    # at most 16 / 6, rounded up, in a batch of 4: every batch has in-batch negatives
    assert max(np.count_nonzero(query[batch] == 1) for batch in order.reshape(6, 4)) == 3

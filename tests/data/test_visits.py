"""The order of the visits of an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, RowStore
from embedctl.data.visits import Mix, Visits, without_repeats
from tests.data.stores import row_store


def rows() -> RowStore:
    """Ten rows of two files of six and four, with 1, 2 or 3 positives; row 8, with three texts, is graded."""
    pos = np.arange(10) % 3 + 1
    bounds, kind = np.concatenate([[0], np.cumsum(1 + pos)]), np.zeros(10, np.uint8)
    kind[8] = KINDS.index(RowKind.GRADED)
    text, source = np.arange(bounds[-1]), (np.arange(10) >= 6).astype(np.int32)
    return row_store(kind, source, bounds, pos, text, np.zeros(bounds[-1], np.float32))


ROWS = [(row, 0) for row in range(10)]
EXPLODED = [(row, pos) for row in range(10) for pos in range(row % 3 + 1 if row != 8 else 1)]


@pytest.mark.parametrize(("explode", "units", "first"), [(False, ROWS, 6), (True, EXPLODED, 12)])
def test_a_file_is_gone_through_in_a_new_order_each_time(explode, units, first):
    """Half of the first file per epoch, the second one twice."""
    visits = Visits(rows(), Mix(4, 1, seed=3, explode=explode, weights=(0.5, 2.0)))
    half, second = first // 2, len(units) - first
    assert visits.by_file.lengths.tolist() == [half, 2 * second]
    epochs = []
    for epoch in range(4):
        row, positive = visits.at(epoch, np.arange(half + 2 * second))
        epochs.append(list(zip(row.tolist(), positive.tolist() if explode else [0] * len(row), strict=True)))
    one, two = (epochs[turn][:half] + epochs[turn + 1][:half] for turn in (0, 2))
    assert sorted(one) == sorted(two) == units[:first]
    assert one != two
    for epoch in epochs:
        again, anew = epoch[half : half + second], epoch[half + second :]
        assert sorted(again) == sorted(anew) == units[first:]


def test_without_exploding_each_positive_has_its_turn():
    store = rows()
    visits = Visits(store, Mix(4, 1, seed=3))
    seen = {pair for epoch in range(3) for pair in zip(*visits.at(epoch, np.arange(10)), strict=True)}
    assert seen == {(row, pos) for row in range(10) for pos in range(store.pos_count[row])}


def test_no_positive_and_no_query_twice_in_a_batch():
    positive, query = np.array([7, 7, 8, 9, 7, 10]), np.array([1, 2, 3, 3, 4, 5])
    order = without_repeats(positive, query, np.array([2, 2, 2]))
    assert sorted(order.tolist()) == list(range(6))
    for start in (0, 2, 4):
        pair = order[start : start + 2]
        assert len(set(positive[pair])) == 2
        assert len(set(query[pair])) == 2


def test_what_cannot_be_kept_apart_is_still_visited():
    order = without_repeats(np.array([7, 7, 7]), np.array([1, 2, 3]), np.array([2, 1]))
    assert sorted(order.tolist()) == [0, 1, 2]

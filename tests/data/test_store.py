"""The texts of a row, the index of rows by a key, rows with mined negatives, and the tokens of texts."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, RowsByKey, RowStore, TextStore
from tests.data.stores import row_store

QUERIES, POSITIVES, NEGATIVES = [1, 2, 1], [[50, 51], [52], [53]], [[60], [], [61, 62]]


@pytest.fixture
def rows() -> RowStore:
    """Return three rows; the score of each text is its id."""
    ids = [[query, *pos, *neg] for query, pos, neg in zip(QUERIES, POSITIVES, NEGATIVES, strict=True)]
    flat = np.concatenate(ids)
    return row_store(
        kind=np.full(3, KINDS.index(RowKind.HARD), np.uint8),
        source=np.zeros(3, np.int32),
        bounds=np.cumsum([0, *map(len, ids)]),
        pos_count=np.array([len(pos) for pos in POSITIVES]),
        text_ids=flat,
        score=flat.astype(np.float32),
    )


def ids_per_row(rows: RowStore) -> list[tuple[int, list[int], list[int]]]:
    """Return the text ids of query, positives and negatives of each row, read one row at a time."""
    one_by_one = [np.array([row]) for row in range(len(rows))]
    return [
        (
            int(rows.query_ids_of(row)[0]),
            rows.positives(row).take(rows.text_ids).tolist(),
            rows.negatives(row).take(rows.text_ids).tolist(),
        )
        for row in one_by_one
    ]


def test_the_ids_of_query_positives_and_negatives_are_returned(rows):
    assert ids_per_row(rows) == list(zip(QUERIES, POSITIVES, NEGATIVES, strict=True))
    assert rows.query_ids.tolist() == QUERIES
    assert rows.positives(np.array([2, 0])).take(rows.text_ids).tolist() == [53, 50, 51]


def test_all_rows_of_a_key_are_found(rows):
    key_index, row = rows.by_query.find(np.array([2, 7, 1]))
    assert list(zip(key_index.tolist(), row.tolist(), strict=True)) == [(0, 1), (2, 0), (2, 2)]
    keys = np.random.default_rng(0).integers(0, 9, 50).astype(np.uint64)
    key_index, row = RowsByKey.build(keys).find(np.arange(12, dtype=np.uint64))
    expected = [(key, index) for key in range(12) for index in np.flatnonzero(keys == key).tolist()]
    assert list(zip(key_index.tolist(), row.tolist(), strict=True)) == expected


def test_mined_negatives_replace_those_of_the_rows(rows):
    """Row 0 gets one negative, row 1 is not mined, and the query of row 2 has no mined negatives."""
    mined = np.array([[-1, -1], [70, -1], [71, 72]])
    mined_rows = rows.with_negatives(mined, np.array([1, -1, 0]))
    assert ids_per_row(mined_rows) == list(zip(QUERIES, POSITIVES, [[70], [], [61, 62]], strict=True))
    scores = mined_rows.negatives(np.arange(3)).take(mined_rows.score)
    assert np.isnan(scores).tolist() == [True, False, False]
    assert scores[1:].tolist() == [61, 62]
    assert ids_per_row(rows.with_negatives(mined, np.array([2, 2, 1]))) == list(
        zip(QUERIES, POSITIVES, [[71, 72], [71, 72], [70]], strict=True)
    )


def test_the_tokens_of_some_texts_are_joined():
    tokens = np.arange(10, 16, dtype=np.int32)
    texts = TextStore(np.arange(3, dtype=np.uint64), np.array([3, 0, 4]), np.array([1, 3, 2]), tokens)
    found = texts.tokens_of(np.array([2, 0]))
    assert (found.ids.tolist(), found.lengths.tolist()) == ([14, 15, 13], [2, 1])

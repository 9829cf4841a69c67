"""Batches are pure functions of seed, epoch and index; the properties that every plan has."""

from __future__ import annotations

from collections import Counter

import numpy as np

from embedctl.data.batches import BatchPlan, sample
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, RowStore
from embedctl.data.visits import BatchSettings
from embedctl.tokens.spans import Spans
from tests.data.stores import row_store


def store(seed: int = 0, rows: int = 100, kinds: tuple[RowKind, ...] = (RowKind.HARD,), queries: int = 90) -> RowStore:
    """Return random rows of two files, with 1 to 3 positives and 0 to 6 negatives. Some queries have several rows."""
    generator = np.random.default_rng(seed)
    pos, neg = generator.integers(1, 4, rows), generator.integers(0, 7, rows)
    bounds = np.concatenate([[0], np.cumsum(1 + pos + neg)])
    text = generator.integers(1000, 1400, bounds[-1])
    text[bounds[:-1]] = generator.integers(0, queries, rows)
    kind = np.array([KINDS.index(kinds[row % len(kinds)]) for row in range(rows)], dtype=np.uint8)
    source = (np.arange(rows) >= rows * 2 // 3).astype(np.int32)
    return row_store(kind, source, bounds, pos, text, np.arange(bounds[-1], dtype=np.float32))


def visited_pairs(plan: BatchPlan, epoch: int) -> list[tuple[int, int]]:
    """Return the text ids of query and positive of each visit of an epoch."""
    pairs = []
    for step in range(plan.batches_per_epoch):
        batch = plan.batch(epoch, step)
        pairs += [
            (int(batch.texts[q]), int(batch.texts[batch.document_D[d]]))
            for q, d in zip(batch.query_Q, batch.own_QC[:, 0], strict=True)
        ]
    return pairs


def test_an_epoch_visits_every_row_once():
    rows = store()
    plan = BatchPlan(rows, BatchSettings(16, 3, seed=1))
    assert Counter(query for query, _ in visited_pairs(plan, 0)) == Counter(rows.query_ids.tolist())


def test_all_positives_are_visited_over_the_epochs():
    rows = store()
    plan = BatchPlan(rows, BatchSettings(16, 3, seed=1))
    seen = {pair for epoch in range(3) for pair in visited_pairs(plan, epoch)}
    listed = {
        (int(rows.query_ids[row]), int(rows.text_ids[rows.bounds[row] + 1 + index]))
        for row in range(100)
        for index in range(rows.pos_count[row])
    }
    assert seen == listed


def test_exploded_positives_are_all_visited_in_one_epoch():
    rows = store()
    plan = BatchPlan(rows, BatchSettings(16, 3, seed=1, explode=True))
    assert len(visited_pairs(plan, 0)) == rows.pos_count.sum()


def test_batches_have_nearly_equal_sizes_and_none_is_dropped():
    plan = BatchPlan(store(), BatchSettings(32, 3, seed=1))
    sizes = [len(plan.batch(0, step)) for step in range(plan.batches_per_epoch)]
    assert sizes == [25, 25, 25, 25]


def test_a_batch_does_not_depend_on_the_order_of_the_calls():
    one, two = (BatchPlan(store(), BatchSettings(16, 3, seed=1)) for _ in range(2))
    later, earlier = two.batch(1, 3), two.batch(0, 2)
    assert (one.batch(0, 2).own_QC == earlier.own_QC).all()
    assert (one.batch(1, 3).texts == later.texts).all()
    assert (BatchPlan(store(), BatchSettings(16, 3, seed=2)).batch(0, 2).texts.tolist()) != earlier.texts.tolist()


def test_each_visit_samples_new_negatives_of_its_row():
    rows = store(rows=30, queries=30)
    plan = BatchPlan(rows, BatchSettings(30, 2, seed=1))
    chosen = []
    for epoch in range(2):
        batch = plan.batch(epoch, 0)
        by_query: dict[int, set[int]] = {}
        for index, own in enumerate(batch.own_QC):
            sampled = {int(batch.texts[batch.document_D[d]]) for d in own[1:] if d >= 0}
            by_query.setdefault(int(batch.texts[batch.query_Q[index]]), set()).update(sampled)
        chosen.append(by_query)
    allowed: dict[int, set[int]] = {}
    for row in range(30):
        start, end = rows.bounds[row] + 1 + rows.pos_count[row], rows.bounds[row + 1]
        allowed.setdefault(int(rows.query_ids[row]), set()).update(rows.text_ids[start:end].tolist())
    assert all(sampled <= allowed[query] for epoch in chosen for query, sampled in epoch.items())
    assert chosen[0] != chosen[1]


def test_a_sample_repeats_indices_only_if_there_are_too_few():
    row, spans = np.arange(3), Spans(np.zeros(3, dtype=np.int64), np.array([5, 2, 0]))
    indices = sample(spans, 4, (1, 2), row, row)
    assert len(set(indices[0].tolist())) == 4
    assert Counter(indices[1].tolist()) == {0: 2, 1: 2}
    assert (indices < 0).tolist() == [[False] * 4, [False] * 4, [True] * 4]
    indices = sample(spans, 4, (1, 2), row, row, repeat=False)
    assert (indices < 0).sum(axis=1).tolist() == [0, 2, 4]


def test_a_sample_is_taken_from_its_span():
    row, spans = np.arange(2), Spans(np.array([40, 7]), np.array([3, 4]))
    assert np.sort(sample(spans, 3, (1, 2), row, row)[0]).tolist() == [40, 41, 42]
    assert np.sort(sample(spans, 4, (1, 2), row, row)[1]).tolist() == [7, 8, 9, 10]


def test_known_positives_of_all_rows_are_listed():
    """Two rows have the same query, and the positive of each row is a negative of the other row."""
    bounds = np.array([0, 3, 6])
    text = np.array([1, 50, 60, 1, 60, 50])  # row 0: pos 50, neg 60; row 1: pos 60, neg 50
    rows = row_store(
        np.full(2, KINDS.index(RowKind.HARD), np.uint8),
        np.zeros(2, np.int32),
        bounds,
        np.ones(2, np.int64),
        text,
        np.zeros(6, np.float32),
    )
    plan = BatchPlan(rows, BatchSettings(2, 1, seed=0))
    for step in range(plan.batches_per_epoch):
        batch = plan.batch(0, step)
        pairs = {(int(q), int(batch.texts[batch.document_D[d]])) for q, d in batch.known_positives}
        for query in range(len(batch)):
            own = int(batch.texts[batch.document_D[batch.own_QC[query, 0]]])
            assert (query, 110 - own) in pairs
            assert (query, own) not in pairs


def test_the_weight_of_a_file_sets_its_visits():
    rows = store(rows=90)
    plan = BatchPlan(rows, BatchSettings(16, 1, seed=1, weights=(2.0, 0.5)))
    assert plan.visits.by_file.lengths.tolist() == [120, 15]
    twice = Counter(query for query, _ in visited_pairs(plan, 0))
    first = Counter(rows.query_ids[:60].tolist())
    assert all(twice[query] >= 2 * count for query, count in first.items())
    halves = Counter(query for epoch in range(2) for query, _ in visited_pairs(plan, epoch))
    assert sum(halves.values()) == 270
    assert all(halves[int(query)] > 0 for query in rows.query_ids[60:])


def test_each_batch_has_rows_of_one_file():
    rows = store(rows=90, queries=10**6)
    source_of = dict(zip(rows.query_ids.tolist(), rows.source.tolist(), strict=True))
    plan = BatchPlan(rows, BatchSettings(16, 1, seed=1, one_dataset_per_batch=True))
    queries = []
    for step in range(plan.batches_per_epoch):
        batch = plan.batch(0, step)
        assert len({source_of[int(text)] for text in batch.texts[batch.query_Q]}) == 1
        queries += batch.texts[batch.query_Q].tolist()
    assert Counter(queries) == Counter(rows.query_ids.tolist())


def test_graded_rows_have_several_candidates_with_grades():
    rows = store(kinds=(RowKind.GRADED,))
    batch = BatchPlan(rows, BatchSettings(10, 3, seed=1)).batch(0, 0)
    counts = (batch.own_QC >= 0).sum(axis=1)
    assert counts.max() > 1
    assert (np.isnan(batch.score_QC) == (batch.own_QC < 0)).all()

"""Numbers of candidates that are counted without the matrix, against those counted in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from embedctl.data.batches import Batch, BatchPlan
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, UNSCORED, RowStore
from embedctl.data.visits import Mix
from embedctl.training.targets import Weights
from tests.data.stores import row_store

MODES = ["all", "hard", "none"]


def rows(seed: int, texts: int) -> RowStore:
    """Rows of all kinds that share queries and texts: the fewer texts, the more known positives."""
    draw = np.random.default_rng(seed)
    pos, neg = draw.integers(1, 4, 60), draw.integers(0, 4, 60)
    bounds = np.concatenate([[0], np.cumsum(1 + pos + neg)])
    text = draw.integers(1000, 1000 + texts, bounds[-1])
    text[bounds[:-1]] = draw.integers(0, 12, 60)
    kind = draw.integers(0, len(KINDS), 60).astype(np.uint8)
    return row_store(kind, np.zeros(60, np.int32), bounds, pos, text, np.ones(bounds[-1], np.float32))


def batches(texts: int) -> list[Batch]:
    """Batches of different sizes."""
    plans = [BatchPlan(rows(seed, texts), Mix(size, 3, seed)) for seed in range(4) for size in (1, 3, 20)]
    return [plan.batch(0, step) for plan in plans for step in range(plan.steps_per_epoch)]


@pytest.mark.parametrize("in_batch", MODES)
@pytest.mark.parametrize("texts", [4, 12, 200])
def test_counts_are_those_of_the_matrix(texts, in_batch):
    found = {"masked": 0, "without": 0}
    for batch in batches(texts):
        everyone, unscored = np.arange(len(batch)), np.isin(batch.kind_Q, UNSCORED)
        weights = Weights.of(batch, in_batch)
        unmasked = Weights.of(replace(batch, known_pairs=batch.known_pairs[:0]), in_batch).matrix(everyone)
        masked = (unmasked > 0) & (weights.matrix(everyone) == 0)
        negatives = (weights.matrix(everyone) > 0).sum(axis=1) - 1
        assert weights.negatives_per_query[unscored].tolist() == negatives[unscored].tolist()
        assert weights.masked == masked[unscored].sum()
        assert weights.without_negatives == (negatives[unscored] == 0).sum()
        found["masked"] += weights.masked
        found["without"] += weights.without_negatives
    assert found["masked"] > 0 or texts == 200
    assert found["without"] > 0


def test_a_negative_that_is_a_known_positive_is_no_negative():
    """Each of the two rows of a query has the other one's positive as its only negative."""
    kind, text = np.full(2, KINDS.index(RowKind.HARD), np.uint8), np.array([1, 50, 60, 1, 60, 50])
    store = row_store(kind, np.zeros(2, np.int32), np.array([0, 3, 6]), np.ones(2, int), text, np.zeros(6, np.float32))
    batch = BatchPlan(store, Mix(1, 2, seed=0)).batch(0, 0)
    for in_batch in MODES:
        weights = Weights.of(batch, in_batch)
        assert (weights.without_negatives, weights.masked) == (1, 1)


@pytest.mark.parametrize("in_batch", MODES)
def test_a_part_of_the_queries_has_its_rows_of_the_whole(in_batch):
    batch = BatchPlan(rows(0, 12), Mix(60, 3, 1)).batch(0, 0)
    weights, part = Weights.of(batch, in_batch), np.arange(1, len(batch), 3)
    targets = weights.targets(part, torch.device("cpu"))
    assert (targets.weight_QD.numpy() == weights.matrix(np.arange(len(batch)))[part]).all()
    assert (targets.own_QC.numpy() == batch.own_QC[part]).all()

"""Weights of candidates: numbers computed with and without the matrix agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from embedctl.data.batches import Batch, BatchPlan
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, KINDS_WITHOUT_SCORES, RowStore
from embedctl.data.visits import BatchSettings
from embedctl.training.targets import CandidateWeights, any_negatives
from tests.data.stores import row_store

MODES = ["all", "hard", "none"]


def rows(seed: int, texts: int) -> RowStore:
    """Return rows of all kinds that share queries and texts; fewer texts give more known positives."""
    draw = np.random.default_rng(seed)
    pos, neg = draw.integers(1, 4, 60), draw.integers(0, 4, 60)
    bounds = np.concatenate([[0], np.cumsum(1 + pos + neg)])
    text = draw.integers(1000, 1000 + texts, bounds[-1])
    text[bounds[:-1]] = draw.integers(0, 12, 60)
    kind = draw.integers(0, len(KINDS), 60).astype(np.uint8)
    return row_store(kind, np.zeros(60, np.int32), bounds, pos, text, np.ones(bounds[-1], np.float32))


def batches(texts: int) -> list[Batch]:
    """Return batches of different sizes."""
    plans = [BatchPlan(rows(seed, texts), BatchSettings(size, 3, seed)) for seed in range(4) for size in (1, 3, 20)]
    return [plan.batch(0, index) for plan in plans for index in range(plan.batches_per_epoch)]


@pytest.mark.parametrize("in_batch", MODES)
@pytest.mark.parametrize("texts", [4, 12, 200])
def test_numbers_equal_those_counted_in_the_matrix(texts, in_batch):
    masked_total = without_negatives_total = 0
    for batch in batches(texts):
        queries, without_scores = np.arange(len(batch)), np.isin(batch.kind_Q, KINDS_WITHOUT_SCORES)
        weights = CandidateWeights.from_batch(batch, in_batch)
        without_known = replace(batch, known_positives=batch.known_positives[:0])
        unmasked = CandidateWeights.from_batch(without_known, in_batch).matrix(queries)
        masked = (unmasked > 0) & (weights.matrix(queries) == 0)
        negatives = (weights.matrix(queries) > 0).sum(axis=1) - 1
        assert weights.negatives_per_query[without_scores].tolist() == negatives[without_scores].tolist()
        assert weights.masked == masked[without_scores].sum()
        assert weights.without_negatives == (negatives[without_scores] == 0).sum()
        masked_total += weights.masked
        without_negatives_total += weights.without_negatives
    assert masked_total > 0 or texts == 200
    assert without_negatives_total > 0


def test_any_negatives_looks_at_all_batches_of_an_epoch():
    """Three rows of one query and one row of another, without negatives of their own."""
    kind, text = np.full(4, KINDS.index(RowKind.IN_BATCH), np.uint8), np.array([1, 50, 1, 51, 1, 52, 2, 53])
    bounds, ones = np.arange(0, 9, 2), np.ones(4, int)
    store = row_store(kind, np.zeros(4, np.int32), bounds, ones, text, np.zeros(8, np.float32))
    assert any_negatives(BatchPlan(store, BatchSettings(2, 2, seed=0)), "all")
    assert not any_negatives(BatchPlan(store, BatchSettings(2, 2, seed=0)), "none")
    assert not any_negatives(BatchPlan(store, BatchSettings(1, 2, seed=0)), "all")


def test_negative_that_is_a_known_positive_is_masked():
    """A query has two rows; the only negative of each row is the positive of the other."""
    kind, text = np.full(2, KINDS.index(RowKind.HARD), np.uint8), np.array([1, 50, 60, 1, 60, 50])
    store = row_store(kind, np.zeros(2, np.int32), np.array([0, 3, 6]), np.ones(2, int), text, np.zeros(6, np.float32))
    batch = BatchPlan(store, BatchSettings(1, 2, seed=0)).batch(0, 0)
    for in_batch in MODES:
        weights = CandidateWeights.from_batch(batch, in_batch)
        assert (weights.without_negatives, weights.masked) == (1, 1)


@pytest.mark.parametrize("in_batch", MODES)
def test_targets_of_some_queries_are_rows_of_the_whole_matrix(in_batch):
    batch = BatchPlan(rows(0, 12), BatchSettings(60, 3, 1)).batch(0, 0)
    weights, queries = CandidateWeights.from_batch(batch, in_batch), np.arange(1, len(batch), 3)
    targets = weights.targets(queries, torch.device("cpu"))
    assert (targets.weight_QD.numpy() == weights.matrix(np.arange(len(batch)))[queries]).all()
    assert (targets.own_QC.numpy() == batch.own_QC[queries]).all()

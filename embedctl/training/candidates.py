"""From a batch to what a loss sees: which document counts how often as a candidate of which query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl.data.batches import Batch
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS
from embedctl.losses.base import Candidates, Loss
from embedctl.tokens.packing import Integers, on_device

CONTRASTIVE = [KINDS.index(kind) for kind in (RowKind.IN_BATCH, RowKind.HARD)]


@dataclass(frozen=True)
class Group:
    """The queries of a batch that share a loss."""

    loss: Loss
    queries: Integers


def groups(batch: Batch, losses: dict[RowKind, Loss]) -> Iterator[Group]:
    """The batch's queries by the loss of their kind."""
    by_loss: dict[Loss, list[int]] = {}
    for number in np.unique(batch.kind_Q):
        by_loss.setdefault(losses[KINDS[number]], []).append(int(number))
    for loss, kinds in by_loss.items():
        yield Group(loss, np.flatnonzero(np.isin(batch.kind_Q, kinds)))


@dataclass(frozen=True)
class Weights:
    """How often each document is a candidate, before it is laid out as a matrix.

    Args:
        batch: the whole batch.
        base_D: the count of a document for every query: 1 (`all`), its occurrences among the hard negatives (`hard`), 0
            (`none`).
        own: whether a query's own negatives still have to be added.
    """

    batch: Batch
    base_D: NDArray[np.float32]
    own: bool

    @classmethod
    def of(cls, batch: Batch, in_batch: str) -> Weights:
        """The weights under `--in-batch all|hard|none`."""
        own = batch.own_QC[np.isin(batch.kind_Q, CONTRASTIVE)]
        negatives = own[:, 1:][own[:, 1:] >= 0]
        counts = np.bincount(negatives, minlength=len(batch.document_D)).astype(np.float32)
        if in_batch == "none":
            return cls(batch, np.zeros_like(counts), True)
        if in_batch == "all":
            counts = (counts > 0).astype(np.float32)
            counts[own[:, 0]] = 1
        return cls(batch, counts, False)

    def matrix(self, queries: Integers) -> NDArray[np.float32]:
        """(len(queries), D): 0 where a document is no candidate, a query's own positive at least 1."""
        weight_QD = np.repeat(self.base_D[None], len(queries), axis=0)
        own_QC = self.batch.own_QC[queries]
        if self.own:
            query, column = np.nonzero(own_QC[:, 1:] >= 0)
            np.add.at(weight_QD, (query, own_QC[query, column + 1]), 1)
        place = np.full(len(self.batch), -1)
        place[queries] = np.arange(len(queries))
        known = self.batch.known_pairs[place[self.batch.known_pairs[:, 0]] >= 0]
        weight_QD[place[known[:, 0]], known[:, 1]] = 0
        weight_QD[np.arange(len(queries)), own_QC[:, 0]] = 1
        return weight_QD

    @property
    def masked(self) -> int:
        """Candidates that were left out because they are known positives."""
        contrastive = np.isin(self.batch.kind_Q[self.batch.known_pairs[:, 0]], CONTRASTIVE)
        query, document = self.batch.known_pairs[contrastive].T
        own = (self.batch.own_QC[query, 1:] == document[:, None]).any(axis=1)
        return int((own | (self.base_D[document] > 0)).sum())

    @property
    def lonely(self) -> int:
        """Contrastive queries whose only candidate is their positive: they have nothing to learn from."""
        contrastive = np.flatnonzero(np.isin(self.batch.kind_Q, CONTRASTIVE))
        others = np.count_nonzero(self.base_D) - (self.base_D[self.batch.own_QC[contrastive, 0]] > 0)
        if self.own:
            others = others + (self.batch.own_QC[contrastive, 1:] >= 0).sum(axis=1)
        known = self.batch.known_pairs[self.base_D[self.batch.known_pairs[:, 1]] > 0]
        masked = np.bincount(known[:, 0], minlength=len(self.batch))[contrastive]
        return int((others - masked <= 0).sum())

    def candidates(self, queries: Integers, device: torch.device) -> Candidates:
        """What a loss takes for these queries."""
        return Candidates(
            own_QC=on_device(self.batch.own_QC[queries], device),
            weight_QD=on_device(self.matrix(queries), device),
            teacher_QC=on_device(self.batch.score_QC[queries], device),
        )

"""From a batch to what a loss sees: which document counts how often as a candidate of which query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl.data.batches import Batch
from embedctl.data.store import KINDS_WITHOUT_SCORES
from embedctl.losses.base import Targets
from embedctl.tokens.packing import array_to_device
from embedctl.tokens.spans import Integers, find_in_sorted


@dataclass(frozen=True)
class Weights:
    """How often each document is a candidate of each query, before it is laid out as a matrix.

    The candidates of a query are its positive, and the documents of all queries or its own negatives; other documents
    that are known positives of the query are masked.
    """

    batch: Batch  # the whole batch
    base_D: NDArray[np.float32]  # for every query: 1 (`all`), occurrences among the hard negatives (`hard`), 0 (`none`)
    own: bool  # whether a query's own negatives still have to be added

    @classmethod
    def of(cls, batch: Batch, in_batch: str) -> Weights:
        """The weights under `--in-batch all|hard|none`."""
        own = batch.own_QC[np.isin(batch.kind_Q, KINDS_WITHOUT_SCORES)]
        negatives = own[:, 1:][own[:, 1:] >= 0]
        counts = np.bincount(negatives, minlength=len(batch.document_D)).astype(np.float32)
        if in_batch == "none":
            return cls(batch, np.zeros_like(counts), True)
        if in_batch == "all":
            counts = (counts > 0).astype(np.float32)
            counts[own[:, 0]] = 1
        return cls(batch, counts, False)

    def matrix(self, queries: Integers) -> NDArray[np.float32]:
        """(len(queries), D): 0 where a document is no candidate, a query's own positive 1; `queries` ascend."""
        weight_QD = np.repeat(self.base_D[None], len(queries), axis=0)
        own_QC = self.batch.own_QC[queries]
        if self.own:
            query, column = np.nonzero(own_QC[:, 1:] >= 0)
            np.add.at(weight_QD, (query, own_QC[query, column + 1]), 1)
        place = find_in_sorted(queries, self.batch.known_positives[:, 0])
        weight_QD[place[place >= 0], self.batch.known_positives[place >= 0, 1]] = 0
        weight_QD[np.arange(len(queries)), own_QC[:, 0]] = 1
        return weight_QD

    @property
    def masked_per_query(self) -> Integers:
        """(Q,) the masked documents of each query, which would be candidates if they were not known positives."""
        query, document = self.batch.known_positives.T
        own = (self.batch.own_QC[query, 1:] == document[:, None]).any(axis=1)
        return np.bincount(query[own | (self.base_D[document] > 0)], minlength=len(self.batch))

    @property
    def negatives_per_query(self) -> Integers:
        """(Q,) the distinct candidates of each query but its positive."""
        positive_Q1, own_QN = np.split(self.batch.own_QC, [1], axis=1)
        shared = self.base_D > 0
        candidates_Q = shared.sum() - shared[positive_Q1[:, 0]]
        if self.own:
            ordered_QN = np.sort(np.where(own_QN == positive_Q1, -1, own_QN), axis=1)
            candidates_Q = (np.diff(ordered_QN, axis=1, prepend=-1) > 0).sum(axis=1)
        return np.asarray(candidates_Q - self.masked_per_query)

    @property
    def masked(self) -> int:
        """Masked documents of all queries without scores."""
        return int(self.masked_per_query[np.isin(self.batch.kind_Q, KINDS_WITHOUT_SCORES)].sum())

    @property
    def without_negatives(self) -> int:
        """Queries without scores whose only candidate is their positive: they have nothing to learn from."""
        return int((self.negatives_per_query[np.isin(self.batch.kind_Q, KINDS_WITHOUT_SCORES)] == 0).sum())

    def targets(self, queries: Integers, device: torch.device) -> Targets:
        """What a loss takes for these queries."""
        return Targets(
            own_QC=array_to_device(self.batch.own_QC[queries], device),
            weight_QD=array_to_device(self.matrix(queries), device),
            teacher_QC=array_to_device(self.batch.score_QC[queries], device),
        )

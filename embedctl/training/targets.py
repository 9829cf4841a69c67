"""Candidates of each query of a batch, as the targets of a loss.

Shapes: Q queries, D distinct documents, C own candidates of a query (its positive, then its negatives).
"""

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
class CandidateWeights:
    """How often each document is a candidate of each query, without the matrix (Q, D).

    The candidates of a query are its positive and, depending on --in-batch, the documents of all queries or only its
    own negatives. Documents that are other known positives of the query are masked: they are not its candidates.
    """

    batch: Batch
    # Weight of each document for all queries: 1 (`all`), number of its uses as a hard negative (`hard`), 0 (`none`).
    shared_D: NDArray[np.float32]
    own_only: bool  # whether a query's only negatives are its own (`none`)

    @classmethod
    def from_batch(cls, batch: Batch, in_batch: str) -> CandidateWeights:
        """Return the weights for a value of --in-batch: all, hard or none."""
        own_QC = batch.own_QC[np.isin(batch.kind_Q, KINDS_WITHOUT_SCORES)]
        negatives = own_QC[:, 1:][own_QC[:, 1:] >= 0]
        counts = np.bincount(negatives, minlength=len(batch.document_D)).astype(np.float32)
        if in_batch == "none":
            return cls(batch, np.zeros_like(counts), True)
        if in_batch == "all":
            counts = (counts > 0).astype(np.float32)
            counts[own_QC[:, 0]] = 1
        return cls(batch, counts, False)

    def matrix(self, queries: Integers) -> NDArray[np.float32]:
        """Return the weights (len(queries), D) of some queries, whose indices are in ascending order.

        The weight is 1 for a query's own positive and 0 for a document that is not a candidate.
        """
        weight_QD = np.repeat(self.shared_D[None], len(queries), axis=0)
        own_QC = self.batch.own_QC[queries]
        if self.own_only:
            query, column = np.nonzero(own_QC[:, 1:] >= 0)
            np.add.at(weight_QD, (query, own_QC[query, column + 1]), 1)
        query = find_in_sorted(queries, self.batch.known_positives[:, 0])
        weight_QD[query[query >= 0], self.batch.known_positives[query >= 0, 1]] = 0
        weight_QD[np.arange(len(queries)), own_QC[:, 0]] = 1
        return weight_QD

    @property
    def masked_per_query(self) -> Integers:
        """(Q,) number of documents that are masked and would otherwise be candidates."""
        query, document = self.batch.known_positives.T
        own = (self.batch.own_QC[query, 1:] == document[:, None]).any(axis=1)
        return np.bincount(query[own | (self.shared_D[document] > 0)], minlength=len(self.batch))

    @property
    def negatives_per_query(self) -> Integers:
        """(Q,) number of distinct candidates other than the positive."""
        positive_Q1, own_QN = np.split(self.batch.own_QC, [1], axis=1)
        shared = self.shared_D > 0
        candidates_Q = shared.sum() - shared[positive_Q1[:, 0]]
        if self.own_only:
            sorted_QN = np.sort(np.where(own_QN == positive_Q1, -1, own_QN), axis=1)
            candidates_Q = (np.diff(sorted_QN, axis=1, prepend=-1) > 0).sum(axis=1)
        return np.asarray(candidates_Q - self.masked_per_query)

    @property
    def masked(self) -> int:
        """Number of masked documents, summed over the queries without scores."""
        return int(self.masked_per_query[np.isin(self.batch.kind_Q, KINDS_WITHOUT_SCORES)].sum())

    @property
    def without_negatives(self) -> int:
        """Number of queries without scores whose only candidate is their positive; their loss is 0."""
        return int((self.negatives_per_query[np.isin(self.batch.kind_Q, KINDS_WITHOUT_SCORES)] == 0).sum())

    def targets(self, queries: Integers, device: torch.device) -> Targets:
        """Return the targets of some queries, whose indices are in ascending order, on a device."""
        return Targets(
            own_QC=array_to_device(self.batch.own_QC[queries], device),
            weight_QD=array_to_device(self.matrix(queries), device),
            score_QC=array_to_device(self.batch.score_QC[queries], device),
        )

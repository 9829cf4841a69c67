"""InfoNCE: cross-entropy of a query's positive among the query's candidates in the batch.

The weights of `Targets` define the candidates: other known positives of the query have the weight 0. No queue of
earlier batches is used.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.base import DEFAULTS, MISSING, Loss, Targets


class InfoNCE(Loss):
    """Cross-entropy of the positive under a softmax over the candidates (van den Oord et al. 2018, arXiv:1807.03748).

    With w_qd the weight of document d for query q and p the query's positive, `own_QC[:, 0]`:

        loss_q = -log(w_qp exp(q.p / temperature) / sum over d of w_qd exp(q.d / temperature))

    A negative with weight k has the same effect as k copies of it in the batch.

    If symmetric, it is averaged with the loss of the reverse direction, from the positive to its query among the
    queries of the batch (Radford et al. 2021, arXiv:2103.00020). The reverse direction leaves out other queries for
    which the positive is not a candidate, or is the positive too.
    """

    kinds: ClassVar = (RowKind.IN_BATCH, RowKind.HARD)
    temperature: float = Field(DEFAULTS.temperature, gt=0)  # divides the similarities
    symmetric: bool = DEFAULTS.symmetric

    @classmethod
    def from_options(cls, options: LossSection) -> InfoNCE:
        """Return the loss with the settings of the options."""
        return cls(temperature=options.temperature, symmetric=options.symmetric)

    @property
    def separable(self) -> bool:
        """Whether the loss is separable: not if it is symmetric, because the reverse direction compares queries."""
        return not self.symmetric

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Return the mean loss over the queries."""
        positive_Q = targets.own_QC[:, 0]
        scaled_QH = query_QH / self.temperature
        loss = _weighted_cross_entropy(scaled_QH, document_DH, targets.weight_QD, positive_Q)
        if not self.symmetric:
            return loss
        target_Q = torch.arange(len(positive_Q), device=positive_Q.device).masked_fill(positive_Q == MISSING, MISSING)
        positive_QH = document_DH[positive_Q.clamp(min=0)]
        return (loss + _weighted_cross_entropy(positive_QH, scaled_QH, _reverse_candidates(targets), target_Q)) / 2


def _reverse_candidates(targets: Targets) -> Tensor:
    """Return the mask (Q, Q) of the candidates of the reverse direction.

    Entry [q, r] is true if r equals q, or if the positive of query q is a candidate of query r but not its positive.
    """
    positive_Q = targets.own_QC[:, 0]
    is_candidate_QQ = targets.weight_QD[:, positive_Q.clamp(min=0)].T > 0
    same_positive_QQ = positive_Q[:, None] == positive_Q[None, :]
    diagonal_QQ = torch.eye(len(positive_Q), dtype=torch.bool, device=positive_Q.device)
    return (is_candidate_QQ & ~same_positive_QQ) | diagonal_QQ


def _weighted_cross_entropy(anchor_AH: Tensor, candidate_NH: Tensor, weight_AN: Tensor, target_A: Tensor) -> Tensor:
    """Return the mean cross-entropy over A anchors; an anchor without a target (MISSING) contributes 0.

    The logits are dot products plus the logarithm of the weights, so that a candidate with weight k counts k times.
    """
    # the lowest finite number instead of -inf, which would give NaN for an anchor without candidates
    lowest = torch.finfo(anchor_AH.dtype).min
    weight_AN = weight_AN.to(anchor_AH.dtype)
    log_weight_AN = torch.where(weight_AN > 0, weight_AN, 1.0).log().masked_fill(weight_AN == 0, lowest)
    logits_AN = torch.addmm(log_weight_AN, anchor_AH, candidate_NH.T)
    return cross_entropy(logits_AN, target_A, ignore_index=MISSING, reduction="sum") / max(len(target_A), 1)

"""InfoNCE: a query's positive against all its candidates in the batch.

Which documents those are, and which are left out as known positives, arrives as weights. No queue of earlier batches.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.base import DEFAULTS, NONE, Loss, Targets


class InfoNCE(Loss):
    """Cross-entropy of the positive under a softmax over the candidates (van den Oord et al. 2018, arXiv:1807.03748).

    With w_qd the weight of document d for query q and p the query's positive, `own_QC[:, 0]`:

        loss_q = -log(w_qp exp(q.p / temperature) / sum over d of w_qd exp(q.d / temperature))

    so that a negative of weight k counts as if the batch held it k times.

    Args:
        temperature: divides the similarities.
        symmetric: average with the way back, from the positive to its query among the batch's queries (Radford et al.
            2021, arXiv:2103.00020). Left out there is a query of which the document is no candidate, or the positive.
    """

    kinds: ClassVar = (RowKind.IN_BATCH, RowKind.HARD)
    temperature: float = Field(DEFAULTS.temperature, gt=0)
    symmetric: bool = DEFAULTS.symmetric

    @classmethod
    def of(cls, options: LossSection) -> InfoNCE:
        """See `Loss`."""
        return cls(temperature=options.temperature, symmetric=options.symmetric)

    @property
    def separable(self) -> bool:
        """The way back compares queries with one another."""
        return not self.symmetric

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the mean over queries."""
        positive_Q = targets.own_QC[:, 0]
        scaled_QH = query_QH / self.temperature
        loss = _contrast(scaled_QH, document_DH, targets.weight_QD, positive_Q)
        if not self.symmetric:
            return loss
        own_Q = torch.arange(len(positive_Q), device=positive_Q.device).masked_fill(positive_Q == NONE, NONE)
        positive_QH = document_DH[positive_Q.clamp(min=0)]
        return (loss + _contrast(positive_QH, scaled_QH, _rivals(targets), own_Q)) / 2


def _rivals(targets: Targets) -> Tensor:
    """(Q, Q) true where a query (column) is told apart from the positive of another (row), and for its own."""
    positive_Q = targets.own_QC[:, 0]
    compared_QQ = targets.weight_QD[:, positive_Q.clamp(min=0)].T > 0
    shared_QQ = positive_Q[:, None] == positive_Q[None, :]
    own_QQ = torch.eye(len(positive_Q), dtype=torch.bool, device=positive_Q.device)
    return (compared_QQ & ~shared_QQ) | own_QQ


def _contrast(anchor_AH: Tensor, candidate_NH: Tensor, weight_AN: Tensor, target_A: Tensor) -> Tensor:
    """Mean over anchors; one whose target is -1 adds 0."""
    # the lowest finite number, not -inf: the softmax of a row without candidates would be NaN, and so its gradient
    lowest = torch.finfo(anchor_AH.dtype).min
    weight_AN = weight_AN.to(anchor_AH.dtype)
    log_weight_AN = torch.where(weight_AN > 0, weight_AN, 1.0).log().masked_fill(weight_AN == 0, lowest)
    logits_AN = torch.addmm(log_weight_AN, anchor_AH, candidate_NH.T)
    return cross_entropy(logits_AN, target_A, ignore_index=NONE, reduction="sum") / max(len(target_A), 1)

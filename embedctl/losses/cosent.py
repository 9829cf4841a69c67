"""CoSENT: pairs of a higher grade should be more similar than pairs of a lower one. How much higher plays no part."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.base import DEFAULTS, Loss, Targets, own_similarities


class CoSENT(Loss):
    """log(1 + sum of exp(scale * (cos_j - cos_i))) over all pairs i, j of the batch with grade_i > grade_j.

    A pair is a query and one of its graded texts; pairs of different queries are compared too, so grades must mean the
    same for all of them. One number for the batch: it grows with the logarithm of the comparisons.

    Source: Su 2022, "CoSENT (1)", https://kexue.fm/archives/8847.
    """

    kinds: ClassVar = (RowKind.GRADED,)
    scale: float = Field(DEFAULTS.cosent_scale, gt=0)  # multiplies the cosines

    @classmethod
    def of(cls, options: LossSection) -> CoSENT:
        """See `Loss`."""
        return cls(scale=options.cosent_scale)

    @property
    def separable(self) -> bool:
        """Pairs of different queries are compared."""
        return False

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the batch's loss, 0 if all grades are equal, in time P log P and memory P for P pairs.

        The double sum is one over i of exp(-s_i) times the sum of exp(s_j) over the j of a lower grade; where the pairs
        stand in the order of their grades, those j are the first ones.
        """
        grade_QC, graded_QC = targets.scores(query_QH.dtype)
        grade_P, order_P = grade_QC[graded_QC].sort(stable=True)
        cosine_QC = own_similarities(query_QH, document_DH, targets.own_QC)
        score_P = self.scale * cosine_QC[graded_QC][order_P]
        nothing = score_P.new_full((1,), torch.finfo(score_P.dtype).min)
        log_sum = torch.cat([nothing, score_P.logcumsumexp(dim=0)])
        lower_P = torch.searchsorted(grade_P, grade_P)
        return torch.cat([score_P.new_zeros(1), log_sum[lower_P] - score_P]).logsumexp(dim=0)

"""CoSENT: a pair with a higher grade should have a higher similarity than a pair with a lower grade.

Only the order of the grades matters, not their differences.
"""

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

    A pair is a query and one of its graded texts. Pairs of different queries are compared too, so a grade must have the
    same meaning for all queries. The loss is not a mean: it grows with the logarithm of the number of comparisons.

    Source: Su 2022, "CoSENT (1)", https://kexue.fm/archives/8847.
    """

    kinds: ClassVar = (RowKind.GRADED,)
    scale: float = Field(DEFAULTS.cosent_scale, gt=0)  # multiplies the cosine similarities

    @classmethod
    def from_options(cls, options: LossSection) -> CoSENT:
        """Return the loss with the settings of the options."""
        return cls(scale=options.cosent_scale)

    @property
    def separable(self) -> bool:
        """False, because pairs of different queries are compared."""
        return False

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the loss of the batch, 0 if all grades are equal, in time P log P and memory P for P pairs.

        The double sum is the sum over i of exp(-s_i) times the sum of exp(s_j) over all j with a lower grade than i.
        With the pairs sorted by grade, these j come first, and a cumulative sum contains the inner sum.
        """
        grade_QC, graded_QC = targets.scores(query_QH.dtype)
        grade_P, order_P = grade_QC[graded_QC].sort(stable=True)
        cosine_QC = own_similarities(query_QH, document_DH, targets.own_QC)
        score_P = self.scale * cosine_QC[graded_QC][order_P]
        log_of_zero = score_P.new_full((1,), torch.finfo(score_P.dtype).min)
        log_sum = torch.cat([log_of_zero, score_P.logcumsumexp(dim=0)])
        lower_P = torch.searchsorted(grade_P, grade_P)  # number of pairs with a lower grade
        return torch.cat([score_P.new_zeros(1), log_sum[lower_P] - score_P]).logsumexp(dim=0)

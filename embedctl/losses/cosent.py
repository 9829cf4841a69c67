"""CoSENT: pairs of a higher grade should be more similar than pairs of a lower one."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from embedctl.losses.base import Candidates, Loss, own_similarities


class CoSENT(Loss):
    """log(1 + sum of exp(scale * (cos_j - cos_i))) over all pairs i, j of the batch with grade_i > grade_j (Su, 2022)."""

    name: Literal["cosent"] = "cosent"
    scale: PositiveFloat = 20.0

    @property
    def separable(self) -> bool:
        """Pairs of different queries are compared."""
        return False

    def __call__(self, query_QH: Tensor, document_DH: Tensor, candidates: Candidates) -> Tensor:
        """See `Loss`."""
        graded = (candidates.own_QC >= 0) & ~candidates.teacher_QC.isnan()
        cosine_N = own_similarities(query_QH, document_DH, candidates.own_QC)[graded] * self.scale
        grade_N = candidates.teacher_QC[graded]
        difference_NN = cosine_N[None, :] - cosine_N[:, None]
        misordered = difference_NN.masked_fill(grade_N[:, None] <= grade_N[None, :], -torch.inf)
        return torch.logsumexp(torch.cat([misordered.flatten(), misordered.new_zeros(1)]), dim=0)

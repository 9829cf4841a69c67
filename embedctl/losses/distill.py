"""Learning from a teacher's scores of each query's own candidates; other queries' texts play no part."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax

from embedctl.losses.base import Candidates, Loss, own_similarities


class KLDistillation(Loss):
    """KL(teacher || student) over each query's own candidates (Hinton et al., 2015), each side with its own temperature."""

    name: Literal["kl"] = "kl"
    temperature: PositiveFloat = 0.02
    teacher_temperature: PositiveFloat = 1.0

    def __call__(self, query_QH: Tensor, document_DH: Tensor, candidates: Candidates) -> Tensor:
        """See `Loss`."""
        scores_QC = own_similarities(query_QH, document_DH, candidates.own_QC) / self.temperature
        teacher_QC = candidates.teacher_QC.to(scores_QC.dtype)
        none_QC = (candidates.own_QC < 0) | teacher_QC.isnan()
        lowest = torch.finfo(scores_QC.dtype).min
        student_QC = log_softmax(scores_QC.masked_fill(none_QC, lowest), dim=1)
        target_QC = softmax(teacher_QC.masked_fill(none_QC, lowest) / self.teacher_temperature, dim=1)
        return kl_div(student_QC.masked_fill(none_QC, 0), target_QC.masked_fill(none_QC, 0), reduction="batchmean")


class MarginMSE(Loss):
    """Squared difference between the student's and the teacher's margin of positive over negative (Hofstätter et al., 2020).

    A cosine is multiplied by `scale` first, since teachers' margins are not confined to [-2, 2].
    """

    name: Literal["margin-mse"] = "margin-mse"
    scale: PositiveFloat = 1.0

    @property
    def separable(self) -> bool:
        """The mean is over pairs, of which queries have different numbers."""
        return False

    def __call__(self, query_QH: Tensor, document_DH: Tensor, candidates: Candidates) -> Tensor:
        """See `Loss`."""
        scores_QC = own_similarities(query_QH, document_DH, candidates.own_QC) * self.scale
        teacher_QC = candidates.teacher_QC.to(scores_QC.dtype)
        pairs = (candidates.own_QC[:, 1:] >= 0) & ~teacher_QC[:, 1:].isnan() & ~teacher_QC[:, :1].isnan()
        student, teacher = scores_QC[:, :1] - scores_QC[:, 1:], teacher_QC[:, :1] - teacher_QC[:, 1:]
        return (student - teacher)[pairs].square().sum() / pairs.sum().clamp(min=1)

"""Learning from a teacher's scores of each query's own candidates; other queries' texts play no part.

Student and teacher have a temperature each: a cosine lies within [-1, 1], a teacher's score anywhere.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import kl_div

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.base import DEFAULTS, Loss, Targets, own_similarities


class Distillation(Loss):
    """What both have: the temperatures, and the name by which `--distill` asks for one."""

    kinds: ClassVar = (RowKind.TEACHER,)
    asked_by: ClassVar[str]
    temperature: float = Field(DEFAULTS.temperature, gt=0)  # divides the student's cosines
    teacher_temperature: float = Field(DEFAULTS.teacher_temperature, gt=0)  # divides the teacher's scores

    @classmethod
    def of(cls, options: LossSection) -> Self | None:
        """See `Loss`."""
        if options.distill != cls.asked_by:
            return None
        return cls(temperature=options.temperature, teacher_temperature=options.teacher_temperature)


class KLDistillation(Distillation):
    """KL divergence, of the student's distribution from the teacher's, over each query's own scored candidates.

        loss_q = sum over c of P_c (log P_c - log S_c)
        P = softmax(teacher / teacher_temperature), S = softmax(cos / temperature)

    Source: Hinton et al. 2015 (arXiv:1503.02531); over a list of candidates as Ren et al. 2021 (arXiv:2110.07367).
    """

    asked_by: ClassVar = "kl"

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the mean over queries."""
        teacher_QC, scored_QC = targets.scores(query_QH.dtype)
        student_QC = own_similarities(query_QH, document_DH, targets.own_QC)
        log_teacher_QC = _log_softmax(teacher_QC / self.teacher_temperature, scored_QC)
        log_student_QC = _log_softmax(student_QC / self.temperature, scored_QC)
        return kl_div(log_student_QC, log_teacher_QC, reduction="batchmean", log_target=True)


class MarginMSE(Distillation):
    """Squared difference between the student's and the teacher's margin of positive over negative.

        mean over pairs (p, n) of ((cos_p - cos_n) / temperature - (teacher_p - teacher_n) / teacher_temperature)^2

    Source: Hofstätter et al. 2020 (arXiv:2010.02666). Their student's score is a dot product without bounds, held
    against the teacher's as it is (teacher_temperature 1). Cosines are 2 apart at most and have to be scaled: at a
    temperature of 0.02 a teacher's margin of 10 asks for cosines 0.2 apart. For a teacher's probabilities instead of
    logits, a teacher_temperature near 0.1 fits.
    """

    asked_by: ClassVar = "margin-mse"

    @property
    def separable(self) -> bool:
        """The mean is over pairs, of which queries have different numbers."""
        return False

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the mean over all pairs of which both texts are scored; 0 if there are none."""
        teacher_QC, scored_QC = targets.scores(query_QH.dtype)
        student_QC = own_similarities(query_QH, document_DH, targets.own_QC)
        error_QN = _margins(student_QC / self.temperature) - _margins(teacher_QC / self.teacher_temperature)
        pairs_QN = scored_QC[:, :1] & scored_QC[:, 1:]
        return error_QN.square().masked_fill(~pairs_QN, 0.0).sum() / pairs_QN.sum().clamp(min=1)


def _margins(score_QC: Tensor) -> Tensor:
    """(Q, C - 1) by how much the first candidate, the positive, is above each other."""
    return score_QC[:, :1] - score_QC[:, 1:]


def _log_softmax(score_QC: Tensor, mask_QC: Tensor) -> Tensor:
    """(Q, C) log-probabilities of the candidates under the mask; finite elsewhere, also in a row without any."""
    return score_QC.masked_fill(~mask_QC, torch.finfo(score_QC.dtype).min).log_softmax(dim=1)

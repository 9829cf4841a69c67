"""Distillation losses: they compare the model's similarities with a teacher's scores of each query's own candidates.

Texts of other rows are not used. Student and teacher each have a temperature, because cosine similarities lie in
[-1, 1] and the teacher's scores may have any scale.
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
    """Base class of the distillation losses: the temperatures, and the value of `--distill` that selects the loss."""

    kinds: ClassVar = (RowKind.TEACHER,)
    option_value: ClassVar[str]
    temperature: float = Field(DEFAULTS.temperature, gt=0)  # divides the student's cosine similarities
    teacher_temperature: float = Field(DEFAULTS.teacher_temperature, gt=0)  # divides the teacher's scores

    @classmethod
    def from_options(cls, options: LossSection) -> Self | None:
        """Return the loss with the settings of the options; None if they select another loss."""
        if options.distill != cls.option_value:
            return None
        return cls(temperature=options.temperature, teacher_temperature=options.teacher_temperature)


class KLDistillation(Distillation):
    """KL divergence KL(P || S) between the teacher's and the student's distribution over the scored own candidates.

        loss_q = sum over c of P_c (log P_c - log S_c)
        P = softmax(teacher / teacher_temperature), S = softmax(cos / temperature)

    Source: Hinton et al. 2015 (arXiv:1503.02531); over lists of candidates: Ren et al. 2021 (arXiv:2110.07367).
    """

    option_value: ClassVar = "kl"

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Return the mean loss over the queries."""
        score_QC, scored_QC = targets.scores(query_QH.dtype)
        cosine_QC = own_similarities(query_QH, document_DH, targets.own_QC)
        log_teacher_QC = _log_softmax(score_QC / self.teacher_temperature, scored_QC)
        log_student_QC = _log_softmax(cosine_QC / self.temperature, scored_QC)
        return kl_div(log_student_QC, log_teacher_QC, reduction="batchmean", log_target=True)


class MarginMSE(Distillation):
    """Mean squared difference between the student's and the teacher's margin of the positive over each negative.

        mean over pairs (p, n) of ((cos_p - cos_n) / temperature - (teacher_p - teacher_n) / teacher_temperature)^2

    Source: Hofstätter et al. 2020 (arXiv:2010.02666). Their student's score is an unbounded dot product, which is
    compared with the unscaled score of the teacher (teacher_temperature 1). Two cosine similarities differ by at most 2
    and have to be scaled: with temperature 0.02, a teacher's margin of 10 corresponds to a difference of 0.2 between
    cosine similarities. If the teacher's scores are probabilities, not logits, use a teacher_temperature near 0.1.
    """

    option_value: ClassVar = "margin-mse"

    @property
    def separable(self) -> bool:
        """False, because the mean is over pairs, and queries have different numbers of pairs."""
        return False

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Return the mean over all pairs of a positive and a negative that have teacher scores; 0 without pairs."""
        score_QC, scored_QC = targets.scores(query_QH.dtype)
        cosine_QC = own_similarities(query_QH, document_DH, targets.own_QC)
        error_QN = _margins(cosine_QC / self.temperature) - _margins(score_QC / self.teacher_temperature)
        pairs_QN = scored_QC[:, :1] & scored_QC[:, 1:]
        return error_QN.square().masked_fill(~pairs_QN, 0.0).sum() / pairs_QN.sum().clamp(min=1)


def _margins(value_QC: Tensor) -> Tensor:
    """Return the value of the first candidate, the positive, minus the value of each other candidate: (Q, C - 1)."""
    return value_QC[:, :1] - value_QC[:, 1:]


def _log_softmax(logit_QC: Tensor, mask_QC: Tensor) -> Tensor:
    """Return log-probabilities (Q, C) over the candidates in the mask; the other values are finite too."""
    return logit_QC.masked_fill(~mask_QC, torch.finfo(logit_QC.dtype).min).log_softmax(dim=1)

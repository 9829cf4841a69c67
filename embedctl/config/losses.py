"""The options of the losses, a section for each; `LossSection` joins them to the keys of `loss:`."""

from __future__ import annotations

from typing import Literal

from embedctl.config.base import Integers, Section, option


class InfoNCESection(Section):
    """Of rows without scores; the temperature is that of distillation, too."""

    temperature: float = option(0.02, "Loss", "divides the similarities before the softmax", gt=0)
    in_batch: Literal["all", "hard", "none"] = option(
        "all", "Loss", "other rows' texts as negatives: positives and negatives, negatives only, none"
    )
    symmetric: bool = option(False, "Loss", "also retrieve the query from the passage")


class DistillSection(Section):
    """Of rows with teacher scores."""

    distill: Literal["kl", "margin-mse"] = option("kl", "Loss", "loss of rows with teacher scores")
    teacher_temperature: float = option(1.0, "Loss", "divides the teacher's scores", gt=0)


class CoSENTSection(Section):
    """Of graded rows."""

    cosent_scale: float = option(20.0, "Loss", "scale of CoSENT, the loss of graded pairs", gt=0)


class MatryoshkaSection(Section):
    """Around every loss."""

    mrl_dims: Integers = option((), "Loss", "Matryoshka: train these leading dimensions too, e.g. 64,128,256")


class LossSection(MatryoshkaSection, CoSENTSection, DistillSection, InfoNCESection):
    """What is minimised. Options appear in the reverse order of the sections named here."""

"""Options of the losses: one section per loss; `LossSection` combines them into the section `loss`."""

from __future__ import annotations

from typing import Literal

from embedctl.config.base import PositiveIntegers, Section, option


class InfoNCESection(Section):
    """Options of InfoNCE, the loss of rows without grades and teacher scores; distillation uses the temperature too."""

    temperature: float = option(0.02, "Loss", gt=0)
    """divides the cosine similarities before the softmax; a lower value gives more weight to the hardest negatives"""
    in_batch: Literal["all", "hard", "none"] = option("all", "Loss")
    """texts of the other rows used as in-batch negatives: their positives and hard negatives (all), only their hard
    negatives (hard), or none"""
    symmetric: bool = option(False, "Loss")
    """average the loss with that of the reverse direction, from the passage to its query"""


class DistillSection(Section):
    """Options of distillation, the loss of rows with teacher scores."""

    distill: Literal["kl", "margin-mse"] = option("kl", "Loss")
    """loss of rows with teacher scores (pos_scores and neg_scores): KL divergence, or mean squared error of the
    margins"""
    teacher_temperature: float = option(1.0, "Loss", gt=0)
    """divides the teacher scores"""


class CoSENTSection(Section):
    """Options of CoSENT, the loss of graded pairs."""

    cosent_scale: float = option(20.0, "Loss", gt=0)
    """scale of the cosine similarities in CoSENT, the loss of graded pairs (rows with scores)"""


class MatryoshkaSection(Section):
    """Options of the Matryoshka loss, which applies every other loss to shortened embeddings as well."""

    mrl_dims: PositiveIntegers = option((), "Loss", metavar="INT,INT,...")
    """also train these leading dimensions, so that embeddings can be shortened to them (Matryoshka), for example
    64,128,256 (default: none)"""


class LossSection(MatryoshkaSection, CoSENTSection, DistillSection, InfoNCESection):
    """All options of the losses. They appear in the reverse order of these base classes."""

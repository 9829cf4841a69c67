"""The options of the losses, a section for each; `LossSection` joins them to the keys of `loss:`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from embedctl.config.base import Flag, Integers, Section


class InfoNCESection(Section):
    """Of rows without scores; the temperature is that of distillation, too."""

    temperature: Annotated[
        float, Field(gt=0, description="divides the similarities before the softmax"), Flag("Loss")
    ] = 0.02
    in_batch: Annotated[
        Literal["all", "hard", "none"],
        Field(description="other rows' texts as negatives: positives and negatives, negatives only, none"),
        Flag("Loss"),
    ] = "all"
    symmetric: Annotated[bool, Field(description="also retrieve the query from the passage"), Flag("Loss")] = False


class DistillSection(Section):
    """Of rows with teacher scores."""

    distill: Annotated[
        Literal["kl", "margin-mse"], Field(description="loss of rows with teacher scores"), Flag("Loss")
    ] = "kl"
    teacher_temperature: Annotated[float, Field(gt=0, description="divides the teacher's scores"), Flag("Loss")] = 1.0


class CoSENTSection(Section):
    """Of graded rows."""

    cosent_scale: Annotated[
        float, Field(gt=0, description="scale of CoSENT, the loss of graded pairs"), Flag("Loss")
    ] = 20.0


class MatryoshkaSection(Section):
    """Around every loss."""

    mrl_dims: Annotated[
        Integers, Field(description="Matryoshka: train these leading dimensions too, e.g. 64,128,256"), Flag("Loss")
    ] = ()


class LossSection(MatryoshkaSection, CoSENTSection, DistillSection, InfoNCESection):
    """What is minimised. Options appear in the reverse order of the sections named here."""

"""Which loss a kind of row gets. To add a loss: one file, and one name in the union here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.base import Loss
from embedctl.losses.cosent import CoSENT
from embedctl.losses.distill import KLDistillation, MarginMSE
from embedctl.losses.infonce import InfoNCE
from embedctl.losses.matryoshka import Matryoshka

AnyLoss = Annotated[InfoNCE | KLDistillation | MarginMSE | CoSENT | Matryoshka, Field(discriminator="name")]


def losses_for(config: LossSection) -> dict[RowKind, Loss]:
    """The loss of each kind of row."""
    contrastive = InfoNCE(temperature=config.temperature, symmetric=config.symmetric)
    distill = {
        "kl": KLDistillation(temperature=config.temperature, teacher_temperature=config.teacher_temperature),
        "margin-mse": MarginMSE(),
    }[config.distill]
    chosen = {
        RowKind.IN_BATCH: contrastive,
        RowKind.HARD: contrastive,
        RowKind.GRADED: CoSENT(scale=config.cosent_scale),
        RowKind.TEACHER: distill,
    }
    if not config.mrl_dims:
        return dict(chosen)
    return {kind: Matryoshka(loss=loss, dims=config.mrl_dims) for kind, loss in chosen.items()}

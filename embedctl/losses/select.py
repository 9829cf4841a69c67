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
# the union and its one member that holds another loss name each other
Matryoshka.model_rebuild(_types_namespace={"AnyLoss": AnyLoss})

DISTILLATION: dict[str, type[KLDistillation] | type[MarginMSE]] = {"kl": KLDistillation, "margin-mse": MarginMSE}


def losses_for(config: LossSection) -> dict[RowKind, Loss]:
    """Choose the loss of each kind of row.

    In-batch rows and rows with hard negatives have one loss and belong into one call of it: they are each other's
    candidates.
    """
    contrastive = InfoNCE(temperature=config.temperature, symmetric=config.symmetric)
    distill = DISTILLATION[config.distill]
    chosen: dict[RowKind, AnyLoss] = {
        RowKind.IN_BATCH: contrastive,
        RowKind.HARD: contrastive,
        RowKind.GRADED: CoSENT(scale=config.cosent_scale),
        RowKind.TEACHER: distill(temperature=config.temperature, teacher_temperature=config.teacher_temperature),
    }
    if not config.mrl_dims:
        return dict(chosen)
    return {kind: Matryoshka(loss=loss, dims=config.mrl_dims) for kind, loss in chosen.items()}

"""Which loss a kind of row gets. To add a loss: one file, its section in config/losses.py, and one name in `LOSSES`."""

from __future__ import annotations

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.base import Loss
from embedctl.losses.cosent import CoSENT
from embedctl.losses.distill import KLDistillation, MarginMSE
from embedctl.losses.infonce import InfoNCE
from embedctl.losses.matryoshka import Matryoshka

LOSSES: tuple[type[Loss], ...] = (InfoNCE, KLDistillation, MarginMSE, CoSENT)


def losses_for(options: LossSection) -> dict[RowKind, Loss]:
    """Choose the loss of each kind of row: the last of `LOSSES` that is for this kind and that the options ask for.

    In-batch rows and rows with hard negatives have one loss and belong into one call of it: they are each other's
    candidates.
    """
    asked = [loss for member in LOSSES if (loss := member.of(options)) is not None]
    chosen = {kind: loss for loss in asked for kind in loss.kinds}
    if not options.mrl_dims:
        return chosen
    return {kind: Matryoshka(loss=loss, dims=options.mrl_dims) for kind, loss in chosen.items()}

"""Selection of the loss of each kind of row.

To add a loss, write its class in a new file of this folder, a section for its options in config/losses.py, and add the
class to `LOSSES`.
"""

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
    """Return the loss of each kind of row. If the options select several for a kind, the last in `LOSSES` is used.

    In-batch rows and rows with hard negatives use the same loss. They must be computed in one call, because their texts
    are candidates of each other's queries.
    """
    selected = [loss for loss_class in LOSSES if (loss := loss_class.from_options(options)) is not None]
    losses = {kind: loss for loss in selected for kind in loss.kinds}
    if not options.mrl_dims:
        return losses
    return {kind: Matryoshka(loss=loss, dims=options.mrl_dims) for kind, loss in losses.items()}

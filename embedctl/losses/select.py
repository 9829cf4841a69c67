"""Selection of the loss of each kind of row.

To add a loss, write its class in a new file of this folder, a section for its options in config/losses.py, and add the
class to `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Collection

from embedctl.config import LossSection, flag_of
from embedctl.data.rows import KIND_LABELS, RowKind
from embedctl.errors import ConfigError
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


def check_options(options: LossSection, kinds: Collection[RowKind]) -> None:
    """Raise a ConfigError if an option is set that changes the loss of none of these kinds of rows."""
    losses = losses_for(options)
    for name, field in LossSection.model_fields.items():
        others = losses_for(options.model_copy(update={name: field.default}))
        changed = {kind for kind in losses if losses[kind] != others[kind]}
        if name == "in_batch":  # it selects the candidates of this loss
            changed = set(InfoNCE.kinds)
        if getattr(options, name) != field.default and changed.isdisjoint(kinds):
            found = " and ".join(KIND_LABELS[kind.value] for kind in RowKind if kind in kinds)
            message = f"{flag_of(name)} has no effect on the loss of these rows ({found})"
            raise ConfigError(message, f"remove {flag_of(name)}")

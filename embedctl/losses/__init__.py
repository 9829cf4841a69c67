"""Losses of embeddings; see `base` for what one is and `select` for which rows it trains."""

from embedctl.losses.base import Candidates, Loss
from embedctl.losses.cosent import CoSENT
from embedctl.losses.distill import KLDistillation, MarginMSE
from embedctl.losses.infonce import InfoNCE
from embedctl.losses.matryoshka import Matryoshka
from embedctl.losses.select import LOSSES, losses_for

__all__ = [
    "LOSSES",
    "Candidates",
    "CoSENT",
    "InfoNCE",
    "KLDistillation",
    "Loss",
    "MarginMSE",
    "Matryoshka",
    "losses_for",
]

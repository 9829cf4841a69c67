"""Matryoshka: a loss of the whole vector and of its leading dimensions."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from embedctl.losses.base import Candidates, Loss
from embedctl.losses.cosent import CoSENT
from embedctl.losses.distill import KLDistillation, MarginMSE
from embedctl.losses.infonce import InfoNCE


class Matryoshka(Loss):
    """The mean of a loss over nested prefixes of the vector, each normalised again (Kusupati et al., 2022)."""

    name: Literal["matryoshka"] = "matryoshka"
    loss: InfoNCE | KLDistillation | MarginMSE | CoSENT
    dims: tuple[PositiveInt, ...]

    @property
    def separable(self) -> bool:
        """As the loss inside is."""
        return self.loss.separable

    def __call__(self, query_QH: Tensor, document_DH: Tensor, candidates: Candidates) -> Tensor:
        """See `Loss`. Dims above H are H."""
        size = query_QH.shape[1]
        sizes = sorted({min(dim, size) for dim in self.dims} | {size})
        parts = [
            self.loss(normalize(query_QH[:, :dim], dim=-1), normalize(document_DH[:, :dim], dim=-1), candidates)
            for dim in sizes
        ]
        return sum(parts[1:], parts[0]) / len(parts)

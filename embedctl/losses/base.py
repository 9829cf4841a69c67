"""The interface of losses: their base class, and the documents that each query is compared with.

A loss is a callable pydantic model whose fields are its settings. Its inputs are embeddings; it does not depend on the
model, the processes or the forward passes that produced them.
Shapes: Q queries, D distinct documents, H dimensions, C candidates per query from the query's own row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from embedctl.config import LossSection
from embedctl.data.rows import RowKind

MISSING = -1  # index of a missing candidate, which pads the rows of `Targets.own_QC`
DEFAULTS = LossSection()


@dataclass(frozen=True)
class Targets:
    """The candidates of each query, their weights and their scores.

    The own candidates of a query are the texts of its row: the positive or the graded texts, then the negatives.
    """

    own_QC: Tensor  # document index of each own candidate, MISSING for padding
    weight_QD: Tensor  # how many times a document counts as a candidate; 0 if it is none, at least 1 for the positive
    score_QC: Tensor | None = None  # teacher score or grade of each own candidate, NaN if missing; None: no scores

    def scores(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the scores (Q, C) of the own candidates, 0 where missing, and a mask (Q, C) of those that exist.

        Raises:
            ValueError: the rows have no scores.
        """
        if self.score_QC is None:
            message = "this loss requires rows with scores, but the batch contains rows without scores"
            raise ValueError(f"{message}; call it with rows of the kinds in `Loss.kinds` only")
        scored_QC = (self.own_QC != MISSING) & ~self.score_QC.isnan()
        return self.score_QC.to(dtype).masked_fill(~scored_QC, 0.0), scored_QC


class Loss(BaseModel, ABC):
    """A scalar function of embeddings.

    It is a mean over queries unless the class documents something else, so that losses of different batch sizes are
    comparable. A subclass defines a field per setting, `kinds`, `from_options` and `compute`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kinds: ClassVar[tuple[RowKind, ...]] = ()  # the kinds of rows that the loss is for

    @classmethod
    @abstractmethod
    def from_options(cls, options: LossSection) -> Self | None:
        """Return the loss with the settings in the options, or None if the options select another loss."""

    @property
    def separable(self) -> bool:
        """Whether the loss of a batch is the mean of losses of single queries and can be computed in blocks of them."""
        return True

    def __call__(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the loss in float32, also under autocast, or in float64 for inputs in float64.

        The embeddings are L2-normalized. The gradient is finite. A query without candidates contributes 0 to the mean.
        """
        dtype = torch.promote_types(query_QH.dtype, torch.float32)
        with torch.autocast(query_QH.device.type, enabled=False):
            return self.compute(query_QH.to(dtype), document_DH.to(dtype), targets)

    @abstractmethod
    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the result of `__call__` from embeddings in float32 or float64."""


def own_similarities(query_QH: Tensor, document_DH: Tensor, own_QC: Tensor) -> Tensor:
    """Return the dot products (Q, C) of each query with its own candidates; arbitrary values at padding."""
    return torch.einsum("qh,qch->qc", query_QH, document_DH[own_QC.clamp(min=0)])

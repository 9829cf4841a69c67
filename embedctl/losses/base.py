"""What a loss is, and what it is given: embeddings, and which documents are whose candidates.

A loss is its own validated configuration and is callable. It knows neither the model that made the embeddings, nor the
ranks that they come from, nor the chunks that they were made in.
Shapes: Q queries, D distinct documents, H dimensions, C own candidates of a query.
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

NONE = -1
DEFAULTS = LossSection()


@dataclass(frozen=True)
class Targets:
    """Which documents a query is compared with.

    A query's own candidates are its positive or graded texts, then its negatives.
    """

    own_QC: Tensor  # index into the documents of each query's own candidates, -1 for none
    weight_QD: Tensor  # how often a document is a candidate of a query, 0 for not at all; its positive at least once
    teacher_QC: Tensor | None = None  # teacher's score or grade of each own candidate, NaN for none; None if all are

    def scores(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(Q, C) teacher's scores, 0 where there is none, and a (Q, C) mask of those that there are.

        Raises:
            ValueError: no query has any.
        """
        if self.teacher_QC is None:
            raise ValueError("a loss of scored rows was given rows without scores")
        scored_QC = (self.own_QC != NONE) & ~self.teacher_QC.isnan()
        return self.teacher_QC.to(dtype).masked_fill(~scored_QC, 0.0), scored_QC


class Loss(BaseModel, ABC):
    """A scalar of embeddings: a mean over queries unless it says otherwise, so that losses of batches compare.

    A new loss says which `kinds` of rows it is for, implements `of` and `compute`, and is named in `select.LOSSES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kinds: ClassVar[tuple[RowKind, ...]] = ()

    @classmethod
    @abstractmethod
    def of(cls, options: LossSection) -> Self | None:
        """Build the loss that the options ask for; None if they ask for another."""

    @property
    def separable(self) -> bool:
        """Whether the loss of some queries is the mean over their own losses, so that it may be computed in blocks."""
        return True

    def __call__(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the loss in float32, also under autocast; float64 stays.

        Args:
            query_QH: L2-normalised vectors of the queries.
            document_DH: L2-normalised vectors of the documents, each distinct one once.
            targets: which documents each query is compared with.

        Returns:
            A scalar with a gradient that is finite in every row; a query without candidates adds 0.
        """
        wide = torch.promote_types(query_QH.dtype, torch.float32)
        with torch.autocast(query_QH.device.type, enabled=False):
            return self.compute(query_QH.to(wide), document_DH.to(wide), targets)

    @abstractmethod
    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute what `__call__` returns, from vectors in float32 or float64."""


def own_similarities(query_QH: Tensor, document_DH: Tensor, own_QC: Tensor) -> Tensor:
    """(Q, C) dot products of each query with its own candidates; those of -1 are meaningless."""
    return torch.einsum("qh,qch->qc", query_QH, document_DH[own_QC.clamp(min=0)])

"""What a loss is: its own validated configuration, callable on embeddings. It knows no model, no ranks and no chunks.

Shapes: Q queries, D distinct documents, H dimensions, C own candidates of a query.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """Which documents a query is compared with.

    Args:
        own_QC: (Q, C) index into the documents of each query's own candidates: its positive or graded texts, then its
            negatives; -1 for none.
        weight_QD: (Q, D) how often a document is a candidate of a query; 0 for not at all. The positive's is at least 1.
        teacher_QC: (Q, C) teacher's score or grade of each own candidate; NaN for none.
    """

    own_QC: Tensor
    weight_QD: Tensor
    teacher_QC: Tensor


class Loss(BaseModel, ABC):
    """A scalar of embeddings: the mean over queries, so that losses of different batches compare."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def separable(self) -> bool:
        """Whether the loss of some queries is the mean over their own losses, so that it may be computed in blocks."""
        return True

    @abstractmethod
    def __call__(self, query_QH: Tensor, document_DH: Tensor, candidates: Candidates) -> Tensor:
        """The loss.

        Args:
            query_QH: L2-normalised vectors of the queries.
            document_DH: L2-normalised vectors of the documents.
            candidates: who is compared with whom.

        Returns:
            A scalar, at least float32.
        """


def similarities(query_QH: Tensor, document_DH: Tensor) -> Tensor:
    """(Q, D) dot products in at least float32."""
    wide = torch.promote_types(query_QH.dtype, torch.float32)
    return query_QH.to(wide) @ document_DH.to(wide).T


def own_similarities(query_QH: Tensor, document_DH: Tensor, own_QC: Tensor) -> Tensor:
    """(Q, C) dot products of each query with its own candidates; those of -1 are meaningless."""
    wide = torch.promote_types(query_QH.dtype, torch.float32)
    own_QCH = document_DH.to(wide)[own_QC.clamp(min=0)]
    return torch.einsum("qh,qch->qc", query_QH.to(wide), own_QCH)

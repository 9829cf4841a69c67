"""InfoNCE: the positive against all other candidates."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import cross_entropy

from embedctl.losses.base import Candidates, Loss, similarities


class InfoNCE(Loss):
    """-log softmax of the positive's similarity / temperature among the candidates (van den Oord et al., 2018).

    A candidate of weight k counts k times. `symmetric` averages it with the other direction: the query against the
    batch's other queries, as seen from its positive; a query that has this document as a known positive is left out.
    """

    name: Literal["infonce"] = "infonce"
    temperature: PositiveFloat = 0.02
    symmetric: bool = False

    @property
    def separable(self) -> bool:
        """The other direction compares queries with one another."""
        return not self.symmetric

    def __call__(self, query_QH: Tensor, document_DH: Tensor, candidates: Candidates) -> Tensor:
        """See `Loss`."""
        logits_QD = similarities(query_QH, document_DH) / self.temperature
        positive_Q = candidates.own_QC[:, 0]
        loss = cross_entropy(logits_QD + candidates.weight_QD.to(logits_QD.dtype).log(), positive_Q)
        if not self.symmetric:
            return loss
        logits_PQ = logits_QD.T[positive_Q]
        excluded_PQ = candidates.weight_QD.T[positive_Q] == 0
        excluded_PQ |= (positive_Q[:, None] == positive_Q[None]) & ~torch.eye(len(positive_Q), dtype=torch.bool, device=positive_Q.device)
        own_Q = torch.arange(len(positive_Q), device=positive_Q.device)
        return (loss + cross_entropy(logits_PQ.masked_fill(excluded_PQ, -torch.inf), own_Q)) / 2

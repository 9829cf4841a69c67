"""Matryoshka: any other loss, of the whole vector and of its leading dimensions, so that vectors may be cut later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import normalize

from embedctl.errors import ConfigError
from embedctl.losses.base import Candidates, Loss

if TYPE_CHECKING:
    from embedctl.losses.select import AnyLoss


class Matryoshka(Loss):
    """The weighted mean of a loss over nested prefixes of the vector, each normalised again.

    The whole vector always is one of them. Source: Kusupati et al. 2022 (arXiv:2205.13147), who sum; a mean keeps the
    loss and its gradient of one size whatever the number of prefixes.

    Args:
        loss: of each prefix.
        dims: lengths of the prefixes, in any order.
        weights: one for each of `dims`, 1 by default; the whole vector has 1 unless its length is among `dims`.
    """

    name: Literal["matryoshka"] = "matryoshka"
    loss: AnyLoss
    dims: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None

    @model_validator(mode="after")
    def _one_weight_for_each_length(self) -> Matryoshka:
        if self.weights is not None and len(self.weights) != len(self.dims):
            raise ValueError(f"{len(self.weights)} weights for {len(self.dims)} dims")
        return self

    @property
    def separable(self) -> bool:
        """As the loss inside is."""
        return self.loss.separable

    def compute(self, query_QH: Tensor, document_DH: Tensor, candidates: Candidates) -> Tensor:
        """Compute the weighted mean.

        Raises:
            ConfigError: a prefix is longer than the vector.
        """
        weights = self._weight_of_each(query_QH.shape[1])
        parts = [
            weight * self.loss(_prefix(query_QH, length), _prefix(document_DH, length), candidates)
            for length, weight in weights.items()
        ]
        return sum(parts[1:], parts[0]) / sum(weights.values())

    def _weight_of_each(self, whole: int) -> dict[int, float]:
        expect_dims(self.dims, whole)
        return {whole: 1.0} | dict(zip(self.dims, self.weights or [1.0] * len(self.dims), strict=True))


def expect_dims(dims: Sequence[int], whole: int) -> None:
    """Raise a ConfigError if a prefix is longer than the vector of `whole` dimensions."""
    if max(dims, default=0) > whole:
        raise ConfigError(
            f"--mrl-dims: {max(dims)} is more than the model's {whole} dimensions",
            f"give lengths below {whole}; all {whole} are trained anyway",
        )


def _prefix(vectors: Tensor, length: int) -> Tensor:
    """Cut to the leading dimensions and normalise again, which whole vectors need not."""
    return vectors if length == vectors.shape[1] else normalize(vectors[:, :length], dim=1)

"""Matryoshka: any other loss, of the whole vector and of its leading dimensions, so that vectors may be cut later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, SerializeAsAny
from torch import Tensor
from torch.nn.functional import normalize

from embedctl.config import LossSection
from embedctl.errors import ConfigError
from embedctl.losses.base import Loss, Targets


class Matryoshka(Loss):
    """The mean of a loss over nested prefixes of the vector, each normalised again.

    The whole vector always is one of them. Source: Kusupati et al. 2022 (arXiv:2205.13147), who sum; a mean keeps the
    loss and its gradient of one size whatever the number of prefixes.
    """

    loss: SerializeAsAny[Loss]  # of each prefix
    dims: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)  # lengths of the prefixes, in any order

    @classmethod
    def of(cls, options: LossSection) -> None:
        """None: it is put around the losses that the options ask for (`select.losses_for`)."""

    @property
    def separable(self) -> bool:
        """As the loss inside is."""
        return self.loss.separable

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Compute the mean.

        Raises:
            ConfigError: a prefix is longer than the vector.
        """
        whole = query_QH.shape[1]
        expect_dims(self.dims, whole)
        lengths = sorted({whole, *self.dims})
        parts = [self.loss(_prefix(query_QH, n), _prefix(document_DH, n), targets) for n in lengths]
        return torch.stack(parts).mean()


def expect_dims(dims: Sequence[int], whole: int) -> None:
    """Raise a ConfigError if a prefix is longer than the vector of `whole` dimensions."""
    if max(dims, default=0) > whole:
        hint = f"give lengths below {whole}; all {whole} are trained anyway"
        raise ConfigError(f"--mrl-dims: {max(dims)} is more than the model's {whole} dimensions", hint)


def _prefix(vectors: Tensor, length: int) -> Tensor:
    """Cut to the leading dimensions and normalise again, which whole vectors need not."""
    return vectors if length == vectors.shape[1] else normalize(vectors[:, :length], dim=1)

"""Matryoshka: another loss of whole embeddings and of their leading dimensions, so that they can be truncated."""

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
    """The mean of a loss over several numbers of leading dimensions; truncated embeddings are normalized again.

    The whole embedding is always included. Source: Kusupati et al. 2022 (arXiv:2205.13147). They use the sum; the mean
    does not grow with the number of terms, nor does its gradient.
    """

    loss: SerializeAsAny[Loss]  # computed for each number of dimensions
    dims: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)  # numbers of leading dimensions, in any order

    @classmethod
    def from_options(cls, options: LossSection) -> None:
        """Return None: `select.losses_for` wraps the losses that the options select."""

    @property
    def separable(self) -> bool:
        """Whether the wrapped loss is separable."""
        return self.loss.separable

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        """Return the mean of the losses of the truncated embeddings and of the whole embeddings.

        Raises:
            ConfigError: one of `dims` is greater than the dimension of the embeddings.
        """
        check_dims(self.dims, query_QH.shape[1])
        dims = sorted({query_QH.shape[1], *self.dims})
        losses = [self.loss(_truncate(query_QH, dim), _truncate(document_DH, dim), targets) for dim in dims]
        return torch.stack(losses).mean()


def check_dims(dims: Sequence[int], dimension: int) -> None:
    """Raise a ConfigError if a value of `dims` is greater than the dimension of the embeddings."""
    if max(dims, default=0) > dimension:
        hint = f"give values below {dimension}; the whole embedding with {dimension} dimensions is always trained"
        raise ConfigError(f"--mrl-dims: {max(dims)} is more than the model's {dimension} dimensions", hint)


def _truncate(vectors: Tensor, dim: int) -> Tensor:
    """Return the `dim` leading dimensions, normalized again; whole vectors are returned unchanged."""
    return vectors if dim == vectors.shape[1] else normalize(vectors[:, :dim], dim=1)

"""Matryoshka: mean over truncated embeddings, settings and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from embedctl.config import LossSection
from embedctl.errors import ConfigError
from embedctl.losses.base import Loss, Targets
from embedctl.losses.distill import KLDistillation
from embedctl.losses.infonce import InfoNCE
from embedctl.losses.matryoshka import Matryoshka

TARGETS = Targets(
    torch.tensor([[0, 3], [1, 4], [2, 3]]), torch.ones(3, 5), torch.tensor([[3.0, 1.0], [0.5, 2.0], [1.0, 0.0]])
)


def truncate(vectors: Tensor, length: int) -> Tensor:
    norms = [math.sqrt(math.fsum(x * x for x in row[:length])) for row in vectors.tolist()]
    return vectors[:, :length] / torch.tensor(norms, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("inner", [InfoNCE(), InfoNCE(symmetric=True), KLDistillation()], ids=repr)
def test_the_loss_is_the_mean_over_truncated_and_whole_embeddings(inner, unit):
    query, document = unit(3, grad=False), unit(5, grad=False)
    losses = [float(inner(truncate(query, n), truncate(document, n), TARGETS)) for n in (2, 4, 8)]
    value = Matryoshka(loss=inner, dims=(4, 2))(query, document, TARGETS)
    assert float(value) == pytest.approx(math.fsum(losses) / 3, abs=1e-12)


def test_the_whole_embedding_is_included_exactly_once(unit):
    query, document = unit(3), unit(5)
    plain = InfoNCE()(query, document, TARGETS)
    torch.testing.assert_close(Matryoshka(loss=InfoNCE(), dims=(8,))(query, document, TARGETS), plain)
    twice = Matryoshka(loss=InfoNCE(), dims=(2, 8, 2))(query, document, TARGETS)
    assert twice == Matryoshka(loss=InfoNCE(), dims=(2,))(query, document, TARGETS)


def test_the_order_of_dims_does_not_matter(unit):
    query, document = unit(3), unit(5)
    values = [Matryoshka(loss=InfoNCE(), dims=dims)(query, document, TARGETS) for dims in ((2, 4, 6), (6, 2, 4))]
    torch.testing.assert_close(*values, atol=1e-13, rtol=0)


class MeanNorm(Loss):
    """The mean norm of the embeddings."""

    @classmethod
    def from_options(cls, options: LossSection) -> MeanNorm:
        return cls()

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        return torch.cat([query_QH, document_DH]).norm(dim=1).mean()


def test_truncated_embeddings_are_normalized(unit):
    """Nothing else is applied, so a model that is truncated when loaded returns the embeddings that were trained."""
    norm = Matryoshka(loss=MeanNorm(), dims=(1, 3))(unit(3), unit(5), TARGETS)
    assert float(norm.detach()) == pytest.approx(1, abs=1e-14)


def test_more_dimensions_than_the_embedding_has_are_an_error(unit):
    with pytest.raises(ConfigError, match="--mrl-dims: 512 is more than the model's 8 dimensions"):
        Matryoshka(loss=InfoNCE(), dims=(4, 512))(unit(3), unit(5), TARGETS)


@pytest.mark.parametrize("settings", [{"dims": ()}, {"dims": (0,)}, {"dims": (-4,)}])
def test_invalid_settings_are_errors(settings):
    with pytest.raises(ValidationError):
        Matryoshka(loss=InfoNCE(), **settings)


def test_gradients_are_finite_if_the_leading_dimensions_are_zero():
    query = torch.tensor([[0.0, 1.0]], requires_grad=True)
    document = torch.eye(2, requires_grad=True)
    targets = Targets(torch.tensor([[0, 1]]), torch.ones(1, 2))
    Matryoshka(loss=InfoNCE(), dims=(1,))(query, document, targets).backward()
    assert query.grad.isfinite().all()
    assert document.grad.isfinite().all()

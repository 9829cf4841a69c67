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

EVERYONE = Targets(
    torch.tensor([[0, 3], [1, 4], [2, 3]]), torch.ones(3, 5), torch.tensor([[3.0, 1.0], [0.5, 2.0], [1.0, 0.0]])
)


def cut(vectors: Tensor, length: int) -> Tensor:
    norms = [math.sqrt(math.fsum(x * x for x in row[:length])) for row in vectors.tolist()]
    return vectors[:, :length] / torch.tensor(norms, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("inner", [InfoNCE(), InfoNCE(symmetric=True), KLDistillation()], ids=repr)
def test_is_the_mean_over_prefixes_and_the_whole(inner, unit):
    query, document = unit(3, grad=False), unit(5, grad=False)
    parts = [float(inner(cut(query, n), cut(document, n), EVERYONE)) for n in (2, 4, 8)]
    value = Matryoshka(loss=inner, dims=(4, 2))(query, document, EVERYONE)
    assert float(value) == pytest.approx(math.fsum(parts) / 3, abs=1e-12)


def test_the_whole_vector_counts_once_and_by_itself_is_the_loss_inside(unit):
    query, document = unit(3), unit(5)
    plain = InfoNCE()(query, document, EVERYONE)
    torch.testing.assert_close(Matryoshka(loss=InfoNCE(), dims=(8,))(query, document, EVERYONE), plain)
    twice = Matryoshka(loss=InfoNCE(), dims=(2, 8, 2))(query, document, EVERYONE)
    assert twice == Matryoshka(loss=InfoNCE(), dims=(2,))(query, document, EVERYONE)


def test_the_order_of_dims_does_not_count(unit):
    query, document = unit(3), unit(5)
    values = [Matryoshka(loss=InfoNCE(), dims=dims)(query, document, EVERYONE) for dims in ((2, 4, 6), (6, 2, 4))]
    torch.testing.assert_close(*values, atol=1e-13, rtol=0)


class Norms(Loss):
    """The mean length of what it is given."""

    @classmethod
    def of(cls, options: LossSection) -> Norms:
        return cls()

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        return torch.cat([query_QH, document_DH]).norm(dim=1).mean()


def test_every_prefix_reaches_the_loss_at_unit_length(unit):
    """And as it is: no layer is put between, so that a model cut at load time gives what was trained."""
    seen = Matryoshka(loss=Norms(), dims=(1, 3))(unit(3), unit(5), EVERYONE)
    assert float(seen.detach()) == pytest.approx(1, abs=1e-14)


def test_a_prefix_longer_than_the_vector_is_the_user_s_mistake(unit):
    with pytest.raises(ConfigError, match="--mrl-dims: 512 is more than the model's 8 dimensions"):
        Matryoshka(loss=InfoNCE(), dims=(4, 512))(unit(3), unit(5), EVERYONE)


@pytest.mark.parametrize("settings", [{"dims": ()}, {"dims": (0,)}, {"dims": (-4,)}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        Matryoshka(loss=InfoNCE(), **settings)


def test_a_vector_whose_prefix_is_zero_leaves_finite_gradients():
    query = torch.tensor([[0.0, 1.0]], requires_grad=True)
    document = torch.eye(2, requires_grad=True)
    targets = Targets(torch.tensor([[0, 1]]), torch.ones(1, 2))
    Matryoshka(loss=InfoNCE(), dims=(1,))(query, document, targets).backward()
    assert query.grad.isfinite().all()
    assert document.grad.isfinite().all()

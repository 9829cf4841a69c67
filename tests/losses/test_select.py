"""The loss that the options select for each kind of row."""

from __future__ import annotations

import pytest

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.cosent import CoSENT
from embedctl.losses.distill import KLDistillation, MarginMSE
from embedctl.losses.infonce import InfoNCE
from embedctl.losses.matryoshka import Matryoshka
from embedctl.losses.select import losses_for


def test_every_kind_of_row_has_a_loss():
    losses = losses_for(LossSection())
    assert losses == {
        RowKind.IN_BATCH: InfoNCE(temperature=0.02),
        RowKind.HARD: InfoNCE(temperature=0.02),
        RowKind.GRADED: CoSENT(scale=20.0),
        RowKind.TEACHER: KLDistillation(temperature=0.02, teacher_temperature=1.0),
    }
    assert set(losses) == set(RowKind)


@pytest.mark.parametrize("mrl_dims", [(), (4, 2)])
def test_in_batch_and_hard_rows_have_equal_losses_because_batches_are_grouped_by_loss(mrl_dims):
    losses = losses_for(LossSection(mrl_dims=mrl_dims))
    assert len({losses[RowKind.IN_BATCH], losses[RowKind.HARD]}) == 1
    assert len(set(losses.values())) == 3


def test_mrl_dims_wraps_every_loss():
    plain = losses_for(LossSection(symmetric=True))
    wrapped = losses_for(LossSection(symmetric=True, mrl_dims=(4, 2)))
    assert wrapped == {kind: Matryoshka(loss=loss, dims=(4, 2)) for kind, loss in plain.items()}


@pytest.mark.parametrize(("distill", "kind"), [("kl", KLDistillation), ("margin-mse", MarginMSE)])
def test_the_loss_of_teacher_scores_has_both_temperatures(distill, kind):
    losses = losses_for(LossSection(distill=distill, temperature=0.05, teacher_temperature=3.0))
    assert losses[RowKind.TEACHER] == kind(temperature=0.05, teacher_temperature=3.0)


@pytest.mark.parametrize("distill", ["kl", "margin-mse"])
@pytest.mark.parametrize(
    "option",
    [
        {"temperature": 0.3},
        {"symmetric": True},
        {"teacher_temperature": 3.0},
        {"cosent_scale": 7.0},
        {"mrl_dims": (2,)},
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_option_changes_the_losses(distill, option):
    assert losses_for(LossSection(distill=distill, **option)) != losses_for(LossSection(distill=distill))

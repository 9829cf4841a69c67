"""What holds for every loss."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck

from embedctl.config import LossSection
from embedctl.losses.base import Loss, Targets
from embedctl.losses.cosent import CoSENT
from embedctl.losses.distill import KLDistillation, MarginMSE
from embedctl.losses.infonce import InfoNCE
from embedctl.losses.matryoshka import Matryoshka
from embedctl.losses.select import LOSSES as LISTED

NAN = float("nan")
LOSSES = [
    InfoNCE(temperature=0.5),
    InfoNCE(temperature=0.5, symmetric=True),
    KLDistillation(temperature=0.5, teacher_temperature=2.0),
    MarginMSE(temperature=0.5, teacher_temperature=2.0),
    CoSENT(scale=3.0),
    Matryoshka(loss=InfoNCE(temperature=0.5), dims=(2, 4)),
    Matryoshka(loss=CoSENT(scale=3.0), dims=(2, 4)),
]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)

# three queries over six documents: repeats, masks, padding and missing scores; the third query's row has nothing at all
RAGGED = Targets(
    own_QC=torch.tensor([[0, 3, 4, 3], [1, 5, -1, -1], [-1, -1, -1, -1]]),
    weight_QD=torch.tensor([[1.0, 1.0, 0.0, 2.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0, 3.0, 1.0], [0.0] * 6]),
    teacher_QC=torch.tensor([[4.0, 1.0, NAN, 1.0], [2.0, 2.0, 3.0, NAN], [NAN, 1.0, NAN, NAN]]),
)


def test_the_list_above_leaves_no_loss_out():
    assert {type(loss) for loss in LOSSES} == {*LISTED, Matryoshka}


@each_loss
def test_gradients_are_those_of_finite_differences(loss, unit):
    assert gradcheck(lambda query, document: loss(query, document, RAGGED), (unit(3), unit(6)))


@each_loss
def test_padding_and_missing_scores_leave_finite_gradients_and_an_empty_query_none(loss, unit):
    query, document = unit(3), unit(6)
    value = loss(query, document, RAGGED)
    value.backward()
    assert value.isfinite()
    assert value > 0
    assert query.grad.isfinite().all()
    assert document.grad.isfinite().all()
    assert query.grad[:2].abs().sum(dim=1).min() > 0
    assert not query.grad[2].any()


@each_loss
def test_a_batch_without_any_candidate_is_zero_with_a_graph(loss, unit):
    query, document = unit(2), unit(3)
    nothing = Targets(torch.full((2, 4), -1), torch.zeros(2, 3), torch.full((2, 4), NAN))
    value = loss(query, document, nothing)
    value.backward()
    assert value == 0
    assert not query.grad.any()
    assert not document.grad.any()


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_vectors_are_widened_before_anything_is_computed(loss, dtype, unit):
    query, document = unit(3, grad=False).to(dtype), unit(6, grad=False).to(dtype)
    value = loss(query, document, RAGGED)
    assert value.dtype == torch.float32
    assert value == loss(query.float(), document.float(), RAGGED)


@each_loss
def test_float64_stays(loss, unit):
    assert loss(unit(3), unit(6), RAGGED).dtype == torch.float64


@each_loss
def test_autocast_does_not_reach_the_loss(loss, unit):
    query, document = unit(3, grad=False).float(), unit(6, grad=False).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(query, document, RAGGED)
    assert inside == loss(query, document, RAGGED)


@each_loss
def test_only_angles_count(loss, unit):
    query, document = unit(3), unit(6)
    if isinstance(loss, Matryoshka):
        # prefixes are not preserved by a rotation of the whole, so each half is turned by itself
        turn = torch.block_diag(*(torch.linalg.qr(unit(2, 2))[0] for _ in range(2)), torch.linalg.qr(unit(4, 4))[0])
    else:
        turn = torch.linalg.qr(unit(8))[0]
    turned = loss(query @ turn, document @ turn, RAGGED)
    torch.testing.assert_close(turned, loss(query, document, RAGGED), atol=1e-12, rtol=0)


@each_loss
def test_the_order_of_queries_and_documents_does_not_count(loss, unit):
    query, document = unit(3), unit(6)
    queries, documents = torch.tensor([2, 0, 1]), torch.tensor([3, 5, 0, 1, 4, 2])
    moved = documents.argsort()
    own = RAGGED.own_QC[queries]
    shuffled = Targets(
        own_QC=torch.where(own >= 0, moved[own.clamp(min=0)], own),
        weight_QD=RAGGED.weight_QD[queries][:, documents],
        teacher_QC=RAGGED.teacher_QC[queries],
    )
    value = loss(query[queries], document[documents], shuffled)
    torch.testing.assert_close(value, loss(query, document, RAGGED), atol=1e-12, rtol=0)


@each_loss
def test_separable_says_whether_blocks_of_queries_may_be_averaged(loss, unit):
    """The training step cuts a separable loss into blocks, each weighed by its queries."""
    query, document = unit(3), unit(6)
    blocks = [torch.tensor([0]), torch.tensor([1, 2])]
    weighed = sum(
        loss(query[block], document, Targets(*(part[block] for part in vars(RAGGED).values()))) * len(block) / 3
        for block in blocks
    )
    difference = float((weighed - loss(query, document, RAGGED)).abs().detach())
    assert (difference < 1e-12) == loss.separable


@each_loss
def test_a_loss_is_frozen_and_can_be_a_key(loss):
    with pytest.raises(ValidationError, match="frozen"):
        loss.name = "other"
    assert {loss: 1}[loss.model_copy()] == 1


@pytest.mark.parametrize("kind", LISTED)
def test_unknown_and_impossible_settings_are_refused(kind):
    with pytest.raises(ValidationError, match="extra"):
        kind(temprature=1.0)
    scales = set(kind.model_fields) & {"temperature", "teacher_temperature", "scale"}
    assert scales
    for field in scales:
        for value in (0.0, -1.0, NAN, float("inf")):
            with pytest.raises(ValidationError, match=field):
                kind(**{field: value})


def test_defaults_are_those_of_the_configuration():
    section = LossSection()
    assert InfoNCE() == InfoNCE(temperature=section.temperature, symmetric=section.symmetric)
    for distill in (KLDistillation, MarginMSE):
        assert distill() == distill(temperature=section.temperature, teacher_temperature=section.teacher_temperature)
    assert CoSENT() == CoSENT(scale=section.cosent_scale)


def test_a_loss_without_compute_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Loss(name="none")


@pytest.mark.parametrize("loss", [KLDistillation(), MarginMSE(), CoSENT()], ids=repr)
def test_scored_rows_without_any_scores_are_a_bug_and_no_silent_zero(loss, unit):
    with pytest.raises(ValueError, match="without scores"):
        loss(unit(3), unit(6), Targets(RAGGED.own_QC, RAGGED.weight_QD))

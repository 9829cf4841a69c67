"""Properties that every loss has: gradients, padding, data types, invariances and validation of settings."""

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
from embedctl.losses.select import LOSSES as LOSS_CLASSES

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

# three queries and six documents, with repetitions, masks, padding and missing scores; query 2 has no candidates
RAGGED = Targets(
    own_QC=torch.tensor([[0, 3, 4, 3], [1, 5, -1, -1], [-1, -1, -1, -1]]),
    weight_QD=torch.tensor([[1.0, 1.0, 0.0, 2.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0, 3.0, 1.0], [0.0] * 6]),
    score_QC=torch.tensor([[4.0, 1.0, NAN, 1.0], [2.0, 2.0, 3.0, NAN], [NAN, 1.0, NAN, NAN]]),
)


def test_the_list_above_contains_every_loss():
    assert {type(loss) for loss in LOSSES} == {*LOSS_CLASSES, Matryoshka}


@each_loss
def test_gradients_equal_finite_differences(loss, unit):
    assert gradcheck(lambda query, document: loss(query, document, RAGGED), (unit(3), unit(6)))


@each_loss
def test_gradients_are_finite_with_padding_and_zero_for_a_query_without_candidates(loss, unit):
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
def test_a_batch_without_candidates_has_loss_0_and_can_be_differentiated(loss, unit):
    query, document = unit(2), unit(3)
    no_candidates = Targets(torch.full((2, 4), -1), torch.zeros(2, 3), torch.full((2, 4), NAN))
    value = loss(query, document, no_candidates)
    value.backward()
    assert value == 0
    assert not query.grad.any()
    assert not document.grad.any()


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_converted_to_float32_first(loss, dtype, unit):
    query, document = unit(3, grad=False).to(dtype), unit(6, grad=False).to(dtype)
    value = loss(query, document, RAGGED)
    assert value.dtype == torch.float32
    assert value == loss(query.float(), document.float(), RAGGED)


@each_loss
def test_float64_inputs_give_a_float64_loss(loss, unit):
    assert loss(unit(3), unit(6), RAGGED).dtype == torch.float64


@each_loss
def test_autocast_has_no_effect_inside_the_loss(loss, unit):
    query, document = unit(3, grad=False).float(), unit(6, grad=False).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = loss(query, document, RAGGED)
    assert under_autocast == loss(query, document, RAGGED)


@each_loss
def test_a_rotation_of_all_embeddings_does_not_change_the_loss(loss, unit):
    query, document = unit(3), unit(6)
    if isinstance(loss, Matryoshka):
        # a rotation must not mix leading dimensions with others, so the blocks 0-1, 2-3 and 4-7 are rotated separately
        rotation = torch.block_diag(*(torch.linalg.qr(unit(2, 2))[0] for _ in range(2)), torch.linalg.qr(unit(4, 4))[0])
    else:
        rotation = torch.linalg.qr(unit(8))[0]
    rotated = loss(query @ rotation, document @ rotation, RAGGED)
    torch.testing.assert_close(rotated, loss(query, document, RAGGED), atol=1e-12, rtol=0)


@each_loss
def test_the_order_of_queries_and_documents_does_not_change_the_loss(loss, unit):
    query, document = unit(3), unit(6)
    queries, documents = torch.tensor([2, 0, 1]), torch.tensor([3, 5, 0, 1, 4, 2])
    new_index = documents.argsort()
    own = RAGGED.own_QC[queries]
    shuffled = Targets(
        own_QC=torch.where(own >= 0, new_index[own.clamp(min=0)], own),
        weight_QD=RAGGED.weight_QD[queries][:, documents],
        score_QC=RAGGED.score_QC[queries],
    )
    value = loss(query[queries], document[documents], shuffled)
    torch.testing.assert_close(value, loss(query, document, RAGGED), atol=1e-12, rtol=0)


@each_loss
def test_separable_is_true_if_the_loss_is_the_weighted_mean_of_blocks_of_queries(loss, unit):
    """GradCache computes a separable loss in blocks, each weighted by its number of queries."""
    query, document = unit(3), unit(6)
    blocks = [torch.tensor([0]), torch.tensor([1, 2])]
    mean_of_blocks = sum(
        loss(query[block], document, Targets(*(part[block] for part in vars(RAGGED).values()))) * len(block) / 3
        for block in blocks
    )
    difference = float((mean_of_blocks - loss(query, document, RAGGED)).abs().detach())
    assert (difference < 1e-12) == loss.separable


@each_loss
def test_a_loss_is_frozen_and_hashable(loss):
    with pytest.raises(ValidationError, match="frozen"):
        loss.name = "other"
    assert {loss: 1}[loss.model_copy()] == 1


@pytest.mark.parametrize("kind", LOSS_CLASSES)
def test_unknown_and_invalid_settings_are_errors(kind):
    with pytest.raises(ValidationError, match="extra"):
        kind(temprature=1.0)
    positive_fields = set(kind.model_fields) & {"temperature", "teacher_temperature", "scale"}
    assert positive_fields
    for field in positive_fields:
        for value in (0.0, -1.0, NAN, float("inf")):
            with pytest.raises(ValidationError, match=field):
                kind(**{field: value})


def test_default_settings_equal_those_of_the_configuration():
    section = LossSection()
    assert InfoNCE() == InfoNCE(temperature=section.temperature, symmetric=section.symmetric)
    for distill in (KLDistillation, MarginMSE):
        assert distill() == distill(temperature=section.temperature, teacher_temperature=section.teacher_temperature)
    assert CoSENT() == CoSENT(scale=section.cosent_scale)


def test_a_loss_without_compute_cannot_be_created():
    with pytest.raises(TypeError, match="abstract"):
        Loss(name="none")


@pytest.mark.parametrize("loss", [KLDistillation(), MarginMSE(), CoSENT()], ids=repr)
def test_a_loss_of_scored_rows_raises_an_error_for_rows_without_scores(loss, unit):
    with pytest.raises(ValueError, match="without scores"):
        loss(unit(3), unit(6), Targets(RAGGED.own_QC, RAGGED.weight_QD))

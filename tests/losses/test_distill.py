"""KLDistillation and MarginMSE: values, temperatures, padding and extreme scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from embedctl.losses.base import Targets
from embedctl.losses.distill import KLDistillation, MarginMSE

NAN = float("nan")
OWN = torch.tensor([[0, 2, 3, 2], [1, 4, -1, -1], [3, 0, 1, 4]])
TEACHER = torch.tensor([[9.5, 1.25, NAN, -3.0], [0.5, 2.0, 7.0, NAN], [0.0, 0.0, 4.0, -4.0]])
ALL = torch.ones(3, 5)
BOTH = pytest.mark.parametrize("kind", [KLDistillation, MarginMSE])


def scored_candidates(query: Tensor, document: Tensor) -> list[list[tuple[float, float]]]:
    """Return (cosine, teacher's score) of each scored candidate per query, the positive first."""
    found = []
    for q, (own, teacher) in enumerate(zip(OWN.tolist(), TEACHER.tolist(), strict=True)):
        pairs = [(d, score) for d, score in zip(own, teacher, strict=True) if d >= 0 and not math.isnan(score)]
        row = query[q].tolist()
        found.append(
            [(math.fsum(a * b for a, b in zip(row, document[d].tolist(), strict=True)), score) for d, score in pairs]
        )
    return found


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score) for score in scores]
    return [power / math.fsum(powers) for power in powers]


@pytest.mark.parametrize(("temperature", "teacher_temperature"), [(0.02, 1.0), (0.1, 3.0), (1.0, 0.5)])
def test_kl_equals_the_formula(temperature, teacher_temperature, unit):
    query, document = unit(3, grad=False), unit(5, grad=False)
    total = 0.0
    for pairs in scored_candidates(query, document):
        student = softmax([cosine / temperature for cosine, _ in pairs])
        teacher = softmax([score / teacher_temperature for _, score in pairs])
        total += math.fsum(t * (math.log(t) - math.log(s)) for t, s in zip(teacher, student, strict=True))
    loss = KLDistillation(temperature=temperature, teacher_temperature=teacher_temperature)
    assert float(loss(query, document, Targets(OWN, ALL, TEACHER))) == pytest.approx(total / 3, rel=1e-12)


@pytest.mark.parametrize(("temperature", "teacher_temperature"), [(0.02, 1.0), (1.0, 1.0), (0.1, 3.0)])
def test_margin_mse_equals_the_formula(temperature, teacher_temperature, unit):
    query, document = unit(3, grad=False), unit(5, grad=False)
    squares = []
    for (positive, best), *negatives in scored_candidates(query, document):
        for cosine, score in negatives:
            squares.append(((positive - cosine) / temperature - (best - score) / teacher_temperature) ** 2)
    assert len(squares) == 2 + 1 + 3
    loss = MarginMSE(temperature=temperature, teacher_temperature=teacher_temperature)
    expected = math.fsum(squares) / len(squares)
    assert float(loss(query, document, Targets(OWN, ALL, TEACHER))) == pytest.approx(expected, rel=1e-12)


def two_candidates(cosine: float) -> tuple[Tensor, Tensor]:
    """Return a query and two documents with the cosines `cosine` and 0."""
    rest = math.sqrt(1 - cosine**2)
    return torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor(
        [[cosine, rest, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64
    )


@BOTH
def test_student_and_teacher_have_separate_temperatures(kind):
    """With a teacher's margin of 1 at temperature 1, the loss is 0 for a cosine difference of 0.02 at temperature 0.02.

    With the temperature 0.02 also for the teacher, the loss is 0 for a cosine difference of 1.
    """
    targets = Targets(torch.tensor([[0, 1]]), torch.ones(1, 2), torch.tensor([[1.0, 0.0]]))
    loss = kind(temperature=0.02, teacher_temperature=1.0)
    assert float(loss(*two_candidates(0.02), targets)) == pytest.approx(0, abs=1e-14)
    assert float(loss(*two_candidates(1.0), targets)) > 1
    equal_temperatures = kind(temperature=0.02, teacher_temperature=0.02)
    assert float(equal_temperatures(*two_candidates(1.0), targets)) == pytest.approx(0, abs=1e-14)


def test_kl_computed_by_hand():
    """Student probabilities 1/2 and 1/2, teacher probabilities 3/4 and 1/4: KL = log 2 - H(3/4, 1/4)."""
    targets = Targets(torch.tensor([[0, 1]]), torch.ones(1, 2), torch.tensor([[math.log(3), 0.0]], dtype=torch.float64))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(KLDistillation()(*two_candidates(0.0), targets)) == pytest.approx(math.log(2) - entropy, abs=1e-14)


def test_margin_mse_computed_by_hand():
    """Margins: student 0.5 / 0.1 = 5, teacher 8 - 1 = 7."""
    targets = Targets(torch.tensor([[0, 1]]), torch.ones(1, 2), torch.tensor([[8.0, 1.0]]))
    assert float(MarginMSE(temperature=0.1)(*two_candidates(0.5), targets)) == pytest.approx(4, abs=1e-12)


def test_a_teachers_margin_of_10_logits_can_be_reached_with_the_default_temperatures():
    targets = Targets(torch.tensor([[0, 1]]), torch.ones(1, 2), torch.tensor([[6.0, -4.0]]))
    assert float(MarginMSE()(*two_candidates(0.2), targets)) == pytest.approx(0, abs=1e-12)


@BOTH
def test_texts_of_other_queries_have_no_effect(kind, unit):
    """Only texts that the teacher has scored for this query are used; the weights have no effect."""
    query, document = unit(3), unit(5)
    alone = Targets(OWN[:1], ALL[:1], TEACHER[:1])
    expected = kind()(query[:1], document, alone)
    (gradient,) = torch.autograd.grad(expected, document)
    assert gradient.any(dim=1).tolist() == [True, False, True, False, False]  # 0 and 2; 3 has no score

    other = document.detach().clone()
    other[[1, 3, 4]] = unit(3, grad=False)
    assert kind()(query[:1], other, alone) == expected
    assert kind()(query[:1], document, Targets(OWN[:1], 7 * ALL[:1], TEACHER[:1])) == expected


def test_kl_of_a_batch_is_the_mean_of_its_queries_alone(unit):
    query, document = unit(3), unit(5)
    each = [KLDistillation()(query[q : q + 1], document, Targets(OWN[[q]], ALL[[q]], TEACHER[[q]])) for q in range(3)]
    whole = KLDistillation()(query, document, Targets(OWN, ALL, TEACHER))
    torch.testing.assert_close(whole, torch.stack(each).mean(), atol=1e-12, rtol=0)


@BOTH
def test_a_constant_added_to_the_teacher_scores_of_a_query_does_not_change_the_loss(kind, unit):
    query, document = unit(3, grad=False), unit(5, grad=False)
    moved = TEACHER.double() + torch.tensor([[100.0], [-3.0], [0.25]])
    value = kind()(query, document, Targets(OWN, ALL, TEACHER.double()))
    torch.testing.assert_close(kind()(query, document, Targets(OWN, ALL, moved)), value, atol=1e-9, rtol=0)


@BOTH
def test_padding_on_the_right_changes_nothing(kind, unit):
    query, document = unit(3), unit(5)
    padded = Targets(
        torch.cat([OWN, torch.full((3, 2), -1)], dim=1),
        ALL,
        torch.cat([TEACHER, torch.tensor([[NAN, 5.0]] * 3)], dim=1),
    )
    expected = kind()(query, document, Targets(OWN, ALL, TEACHER))
    torch.testing.assert_close(kind()(query, document, padded), expected, atol=1e-12, rtol=0)


def test_margin_mse_without_a_scored_positive_has_no_pairs(unit):
    query, document = unit(1), unit(3)
    targets = Targets(torch.tensor([[0, 1, 2]]), torch.ones(1, 3), torch.tensor([[NAN, 1.0, 2.0]]))
    assert MarginMSE()(query, document, targets) == 0


@BOTH
def test_extreme_teachers_stay_finite(kind, unit):
    query, document = unit(1).detach().float().requires_grad_(), unit(3, grad=False).float()
    targets = Targets(torch.tensor([[0, 1, 2]]), torch.ones(1, 3), torch.tensor([[1e6, -1e6, 0.0]]))
    value = kind(teacher_temperature=0.5)(query, document, targets)
    value.backward()
    assert value.isfinite()
    assert query.grad.isfinite().all()

"""CoSENT: value, gradients, invariances and memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from embedctl.losses.base import Targets
from embedctl.losses.cosent import CoSENT

NAN = float("nan")


def graded_targets(queries: int, texts: int, grades: int) -> Targets:
    """Return targets in which no two queries share a text; some texts are missing or have no grade."""
    generator = torch.Generator().manual_seed(queries)
    own = torch.arange(queries * texts).reshape(queries, texts)
    grade = torch.randint(grades, (queries, texts), generator=generator).float()
    own[0, -1], grade[-1, 0] = -1, NAN
    return Targets(own, torch.zeros(queries, queries * texts), grade)


def double_loop(query: Tensor, document: Tensor, targets: Targets, scale: float) -> float:
    """Return the loss computed with two loops over the pairs."""
    pairs = []
    for q, (own, grades) in enumerate(zip(targets.own_QC.tolist(), targets.score_QC.tolist(), strict=True)):
        for d, grade in zip(own, grades, strict=True):
            if d >= 0 and not math.isnan(grade):
                row, text = query[q].tolist(), document[d].tolist()
                pairs.append((math.fsum(a * b for a, b in zip(row, text, strict=True)), grade))
    terms = [
        math.exp(scale * (lower - higher)) for higher, grade_i in pairs for lower, grade_j in pairs if grade_i > grade_j
    ]
    return math.log(1 + math.fsum(terms))


@pytest.mark.parametrize("grades", [1, 2, 3, 50])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_the_loss_equals_the_double_loop(grades, scale, unit):
    query, document, targets = unit(5, grad=False), unit(20, grad=False), graded_targets(5, 4, grades)
    value = float(CoSENT(scale=scale)(query, document, targets))
    assert value == pytest.approx(double_loop(query, document, targets, scale), abs=1e-12)
    assert (value == 0) == (grades == 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_equal_those_of_the_matrix_of_all_comparisons(dtype, unit):
    query, document, targets = unit(30, 16), unit(240, 16), graded_targets(30, 8, 5)
    query, document = (vectors.detach().to(dtype).requires_grad_() for vectors in (query, document))
    mask = (targets.own_QC >= 0) & ~targets.score_QC.isnan()
    cosine = (query[:, None] * document[targets.own_QC]).sum(dim=2)[mask]
    grade = targets.score_QC[mask]
    comparisons = 20 * (cosine[None, :] - cosine[:, None])[grade[:, None] > grade[None, :]]
    expected = torch.cat([comparisons.new_zeros(1), comparisons]).logsumexp(dim=0)
    value = CoSENT()(query, document, targets)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5}[dtype]
    torch.testing.assert_close(value, expected, atol=tolerance, rtol=0)
    ours, theirs = (torch.autograd.grad(loss, [query, document]) for loss in (value, expected))
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def test_value_computed_by_hand_for_pairs_of_different_queries():
    """Cosine 0.6 for grade 1 (first query) and 0.8 for grade 0 (second query): the difference is -0.2."""
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    document = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
    targets = Targets(torch.tensor([[0], [1]]), torch.zeros(2, 2), torch.tensor([[1.0], [0.0]]))
    assert float(CoSENT(scale=20)(query, document, targets)) == pytest.approx(math.log(1 + math.exp(4)), abs=1e-12)


def test_only_the_order_of_the_grades_matters(unit):
    query, document, targets = unit(4), unit(16), graded_targets(4, 4, 4)
    other_grades = Targets(targets.own_QC, targets.weight_QD, targets.score_QC**3 * 100 - 7)
    assert CoSENT()(query, document, other_grades) == CoSENT()(query, document, targets)


def test_a_gradient_step_raises_the_similarity_of_the_higher_grade():
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    document = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=torch.float64).requires_grad_()
    targets = Targets(torch.tensor([[0, 1]]), torch.zeros(1, 2), torch.tensor([[0.9, 0.1]]))
    CoSENT()(query, document, targets).backward()
    assert document.grad[0, 0] < 0 < document.grad[1, 0]


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements of a tensor that an operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else [results]:
            if isinstance(result, Tensor):
                self.elements = max(self.elements, result.numel())
        return results


def test_memory_is_linear_in_the_number_of_pairs(unit):
    queries, texts, size = 100, 10, 8
    query, document, targets = unit(queries), unit(queries * texts), graded_targets(queries, texts, 4)
    with LargestTensor() as largest:
        CoSENT()(query, document, targets).backward()
    assert largest.elements <= queries * texts * size < (queries * texts) ** 2

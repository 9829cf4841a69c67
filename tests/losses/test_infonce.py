"""InfoNCE: values, weights of candidates, the symmetric loss and extreme similarities."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from embedctl.losses.base import Targets
from embedctl.losses.infonce import InfoNCE


def dot(left: list[float], right: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def forward_loss(query: Tensor, document: Tensor, weight: Tensor, positive: list[int], temperature: float) -> float:
    """Return the loss from queries to documents, with k copies of a candidate of weight k."""
    losses = []
    for q, row in enumerate(query.tolist()):
        terms = [
            math.exp(dot(row, text) / temperature)
            for d, text in enumerate(document.tolist())
            for _ in range(int(weight[q, d]))
        ]
        numerator = int(weight[q, positive[q]]) * math.exp(dot(row, document[positive[q]].tolist()) / temperature)
        losses.append(-math.log(numerator / math.fsum(terms)))
    return math.fsum(losses) / len(losses)


def reverse_loss(
    query: Tensor, document: Tensor, positive: list[int], candidates: list[set[int]], temperature: float
) -> float:
    """Return the loss from each positive to its query, among the other queries listed in `candidates`."""
    losses = []
    for q, others in enumerate(candidates):
        text = document[positive[q]].tolist()
        scores = {other: math.exp(dot(text, query[other].tolist()) / temperature) for other in others | {q}}
        losses.append(-math.log(scores[q] / math.fsum(scores.values())))
    return math.fsum(losses) / len(losses)


def test_the_loss_equals_the_formula_with_masks_and_repetitions(unit):
    query, document = unit(4, grad=False), unit(7, grad=False)
    weight = torch.tensor([[1, 0, 2, 1, 1, 0, 3], [0, 1, 1, 1, 0, 0, 0], [2, 2, 1, 0, 1, 1, 1], [0, 0, 0, 2, 5, 0, 0]])
    positive = [0, 1, 2, 3]
    own = torch.tensor([[0, 6], [1, -1], [2, 0], [3, 4]])
    value = InfoNCE(temperature=0.1)(query, document, Targets(own, weight.double()))
    assert float(value) == pytest.approx(forward_loss(query, document, weight, positive, 0.1), abs=1e-12)


def test_in_batch_hard_negatives_equal_rag_retrieval_with_repeated_negatives(unit):
    """logits = [q.p, q.N_all^T] / t with target column 0, where N_all are the B * n negatives with repetitions."""
    queries, negatives, temperature = 5, 6, 0.02
    pool = torch.randint(queries, queries + 9, (queries, negatives), generator=torch.Generator().manual_seed(0))
    query, document = unit(queries), unit(queries + 9)
    assert len(pool.unique()) < pool.numel() / 2

    all_negatives = document[pool.flatten()]
    positive = (query * document[:queries]).sum(dim=1, keepdim=True)
    logits = torch.cat([positive, query @ all_negatives.T], dim=1) / temperature
    assert logits.shape == (queries, 1 + queries * negatives)
    expected = (logits.exp().sum(dim=1).log() - logits[:, 0]).mean()

    weight = torch.zeros(queries, queries + 9)
    weight[:, :] = pool.flatten().bincount(minlength=queries + 9)
    weight[range(queries), range(queries)] = 1
    own = torch.cat([torch.arange(queries)[:, None], pool], dim=1)
    value = InfoNCE(temperature=temperature)(query, document, Targets(own, weight))

    torch.testing.assert_close(value, expected, atol=1e-12, rtol=0)
    for gradient, expected_gradient in zip(
        torch.autograd.grad(value, [query, document]), torch.autograd.grad(expected, [query, document]), strict=True
    ):
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-11, rtol=0)
    assert weight.sum(dim=1).tolist() == [1 + queries * negatives] * queries


def test_value_computed_by_hand():
    """Cosines 1 and 0, temperature 0.5: -log(e^2 / (e^2 + 1)); with three negatives: -log(e^2 / (e^2 + 3))."""
    query, document = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.eye(2).double()
    for times in (1, 3):
        value = InfoNCE(temperature=0.5)(query, document, Targets(torch.tensor([[0, 1]]), torch.tensor([[1, times]])))
        assert float(value) == pytest.approx(math.log(math.exp(2) + times) - 2, abs=1e-14)


def test_a_masked_document_changes_neither_loss_nor_gradient(unit):
    query, document = unit(1), unit(4)
    weight = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    value = InfoNCE()(query, document, Targets(torch.tensor([[0, 1]]), weight))
    (gradient,) = torch.autograd.grad(value, document)
    assert not gradient[2].any()
    without = InfoNCE()(query, document[[0, 1, 3]], Targets(torch.tensor([[0, 1]]), torch.ones(1, 3)))
    torch.testing.assert_close(value, without, atol=1e-13, rtol=0)


def test_candidates_depend_on_the_weights_and_not_on_the_own_negatives(unit):
    query, document, weight = unit(2, grad=False), unit(4, grad=False), torch.ones(2, 4)
    values = {
        float(InfoNCE()(query, document, Targets(torch.tensor(own), weight)))
        for own in ([[0, 2], [1, 3]], [[0, 3], [1, -1]], [[0], [1]])
    }
    assert len(values) == 1


def test_symmetric_leaves_out_masked_queries_and_queries_with_the_same_positive(unit):
    """Queries 0 and 1 have the positive 0; document 2, the positive of query 2, is also a known positive of query 0."""
    query, document = unit(4, grad=False), unit(5, grad=False)
    positive = [0, 0, 2, 3]
    weight = torch.ones(4, 5)
    weight[0, 2] = 0
    candidates = [{2, 3}, {2, 3}, {1, 3}, {0, 1, 2}]
    value = InfoNCE(temperature=0.3, symmetric=True)(
        query, document, Targets(torch.tensor([[0, 4], [0, 1], [2, 4], [3, -1]]), weight)
    )
    directions = (
        forward_loss(query, document, weight, positive, 0.3),
        reverse_loss(query, document, positive, candidates, 0.3),
    )
    assert float(value) == pytest.approx(sum(directions) / 2, abs=1e-12)


def test_symmetric_counts_a_query_once_whatever_the_weight_of_the_document(unit):
    query, document = unit(2, grad=False), unit(2, grad=False)
    own = torch.tensor([[0, 1], [1, 0]])
    weight = torch.tensor([[1, 4], [4, 1]])
    value = InfoNCE(temperature=0.3, symmetric=True)(query, document, Targets(own, weight))
    directions = (
        forward_loss(query, document, weight, [0, 1], 0.3),
        reverse_loss(query, document, [0, 1], [{1}, {0}], 0.3),
    )
    assert float(value) == pytest.approx(sum(directions) / 2, abs=1e-12)


def test_symmetric_does_not_change_if_queries_and_documents_are_exchanged(unit):
    query, document = unit(5), unit(5)
    targets = Targets(torch.arange(5)[:, None], torch.ones(5, 5))
    loss = InfoNCE(symmetric=True)
    torch.testing.assert_close(loss(query, document, targets), loss(document, query, targets), atol=1e-12, rtol=0)
    assert loss(query, document, targets) != InfoNCE()(query, document, targets)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_extreme_cosines_at_a_low_temperature_stay_finite(dtype, symmetric):
    """One query equals its positive, the other is opposite to it: logits of 1000 and -1000."""
    query = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
    document = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
    targets = Targets(torch.tensor([[0], [1]]), torch.tensor([[1, 0, 1], [0, 1, 1]]))
    value = InfoNCE(temperature=0.001, symmetric=symmetric)(query, document, targets)
    value.backward()
    expected = (0 + 2000) / 2
    assert float(value.detach()) == pytest.approx(expected / 2 if symmetric else expected, rel=1e-6)
    assert query.grad.isfinite().all()
    assert document.grad.isfinite().all()


def test_a_query_whose_only_candidate_is_the_positive_has_no_gradient(unit):
    query, document = unit(2), unit(3)
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    value = InfoNCE()(query, document, Targets(torch.tensor([[0, -1], [1, 2]]), weight))
    (gradient,) = torch.autograd.grad(value, query)
    assert not gradient[0].any()
    assert gradient[1].any()


def test_integer_weights_equal_float_weights(unit):
    query, document, weight = unit(2), unit(3), torch.tensor([[1, 0, 2], [1, 1, 1]])
    own = torch.tensor([[0], [1]])
    assert InfoNCE()(query, document, Targets(own, weight)) == InfoNCE()(query, document, Targets(own, weight.float()))

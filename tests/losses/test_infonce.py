from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from embedctl.losses.base import Targets
from embedctl.losses.infonce import InfoNCE


def dot(left: list[float], right: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def there(query: Tensor, document: Tensor, weight: Tensor, positive: list[int], temperature: float) -> float:
    """From query to document, a candidate of weight k written out k times."""
    losses = []
    for q, row in enumerate(query.tolist()):
        terms = [
            math.exp(dot(row, text) / temperature)
            for d, text in enumerate(document.tolist())
            for _ in range(int(weight[q, d]))
        ]
        hit = int(weight[q, positive[q]]) * math.exp(dot(row, document[positive[q]].tolist()) / temperature)
        losses.append(-math.log(hit / math.fsum(terms)))
    return math.fsum(losses) / len(losses)


def back(query: Tensor, document: Tensor, positive: list[int], rivals: list[set[int]], temperature: float) -> float:
    """From the positive of each query to the query, among the rivals that are listed."""
    losses = []
    for q, among in enumerate(rivals):
        text = document[positive[q]].tolist()
        scores = {other: math.exp(dot(text, query[other].tolist()) / temperature) for other in among | {q}}
        losses.append(-math.log(scores[q] / math.fsum(scores.values())))
    return math.fsum(losses) / len(losses)


def test_equals_the_formula_with_masks_and_repeats(unit):
    query, document = unit(4, grad=False), unit(7, grad=False)
    weight = torch.tensor([[1, 0, 2, 1, 1, 0, 3], [0, 1, 1, 1, 0, 0, 0], [2, 2, 1, 0, 1, 1, 1], [0, 0, 0, 2, 5, 0, 0]])
    positive = [0, 1, 2, 3]
    own = torch.tensor([[0, 6], [1, -1], [2, 0], [3, 4]])
    value = InfoNCE(temperature=0.1)(query, document, Targets(own, weight.double()))
    assert float(value) == pytest.approx(there(query, document, weight, positive, 0.1), abs=1e-12)


def test_hard_in_batch_equals_rag_retrieval_where_negatives_repeat(unit):
    """logits = [q.p, q.N_all^T] / t, cross-entropy to column 0, N_all the B * n negatives with their repeats."""
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
    for ours, theirs in zip(
        torch.autograd.grad(value, [query, document]), torch.autograd.grad(expected, [query, document]), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)
    assert weight.sum(dim=1).tolist() == [1 + queries * negatives] * queries


def test_hand_worked():
    """Cosines 1 and 0 at temperature 0.5: -log(e^2 / (e^2 + 1)); the negative three times: -log(e^2 / (e^2 + 3))."""
    query, document = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.eye(2).double()
    for times in (1, 3):
        value = InfoNCE(temperature=0.5)(query, document, Targets(torch.tensor([[0, 1]]), torch.tensor([[1, times]])))
        assert float(value) == pytest.approx(math.log(math.exp(2) + times) - 2, abs=1e-14)


def test_a_masked_document_neither_counts_nor_moves(unit):
    query, document = unit(1), unit(4)
    weight = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    value = InfoNCE()(query, document, Targets(torch.tensor([[0, 1]]), weight))
    (gradient,) = torch.autograd.grad(value, document)
    assert not gradient[2].any()
    kept = InfoNCE()(query, document[[0, 1, 3]], Targets(torch.tensor([[0, 1]]), torch.ones(1, 3)))
    torch.testing.assert_close(value, kept, atol=1e-13, rtol=0)


def test_the_own_negatives_of_another_query_are_candidates_through_the_weight_alone(unit):
    query, document, weight = unit(2, grad=False), unit(4, grad=False), torch.ones(2, 4)
    values = {
        float(InfoNCE()(query, document, Targets(torch.tensor(own), weight)))
        for own in ([[0, 2], [1, 3]], [[0, 3], [1, -1]], [[0], [1]])
    }
    assert len(values) == 1


def test_symmetric_leaves_out_masked_queries_and_those_that_share_the_positive(unit):
    """Queries 0 and 1 share positive 0; positive 2 is known to be right for query 0; query 3 has its own."""
    query, document = unit(4, grad=False), unit(5, grad=False)
    positive = [0, 0, 2, 3]
    weight = torch.ones(4, 5)
    weight[0, 2] = 0
    rivals = [{2, 3}, {2, 3}, {1, 3}, {0, 1, 2}]
    value = InfoNCE(temperature=0.3, symmetric=True)(
        query, document, Targets(torch.tensor([[0, 4], [0, 1], [2, 4], [3, -1]]), weight)
    )
    ways = there(query, document, weight, positive, 0.3), back(query, document, positive, rivals, 0.3)
    assert float(value) == pytest.approx(sum(ways) / 2, abs=1e-12)


def test_symmetric_counts_a_query_once_however_often_the_document_is_its_negative(unit):
    query, document = unit(2, grad=False), unit(2, grad=False)
    own = torch.tensor([[0, 1], [1, 0]])
    weight = torch.tensor([[1, 4], [4, 1]])
    value = InfoNCE(temperature=0.3, symmetric=True)(query, document, Targets(own, weight))
    ways = there(query, document, weight, [0, 1], 0.3), back(query, document, [0, 1], [{1}, {0}], 0.3)
    assert float(value) == pytest.approx(sum(ways) / 2, abs=1e-12)


def test_symmetric_is_the_same_both_ways_round(unit):
    query, document = unit(5), unit(5)
    everyone = Targets(torch.arange(5)[:, None], torch.ones(5, 5))
    loss = InfoNCE(symmetric=True)
    torch.testing.assert_close(loss(query, document, everyone), loss(document, query, everyone), atol=1e-12, rtol=0)
    assert loss(query, document, everyone) != InfoNCE()(query, document, everyone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_extreme_cosines_at_a_low_temperature_stay_finite(dtype, symmetric):
    """Query equal to its positive, query opposite to it: logits of 1000 and -1000."""
    query = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
    document = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
    targets = Targets(torch.tensor([[0], [1]]), torch.tensor([[1, 0, 1], [0, 1, 1]]))
    value = InfoNCE(temperature=0.001, symmetric=symmetric)(query, document, targets)
    value.backward()
    expected = (0 + 2000) / 2
    assert float(value.detach()) == pytest.approx(expected / 2 if symmetric else expected, rel=1e-6)
    assert query.grad.isfinite().all()
    assert document.grad.isfinite().all()


def test_one_candidate_teaches_nothing(unit):
    query, document = unit(2), unit(3)
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    value = InfoNCE()(query, document, Targets(torch.tensor([[0, -1], [1, 2]]), weight))
    (gradient,) = torch.autograd.grad(value, query)
    assert not gradient[0].any()
    assert gradient[1].any()


def test_integer_weights_do(unit):
    query, document, weight = unit(2), unit(3), torch.tensor([[1, 0, 2], [1, 1, 1]])
    own = torch.tensor([[0], [1]])
    assert InfoNCE()(query, document, Targets(own, weight)) == InfoNCE()(query, document, Targets(own, weight.float()))

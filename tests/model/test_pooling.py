"""Tests that pooling of packed texts equals sentence-transformers' pooling of padded texts."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

from embedctl.model.pooling import can_pool, pool_packed

LENGTHS = (5, 1, 9)


def padded(hidden_TH: torch.Tensor) -> dict[str, torch.Tensor]:
    parts = torch.split(hidden_TH, list(LENGTHS))
    mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    return {"token_embeddings": torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), "attention_mask": mask.long()}


@pytest.mark.parametrize("modes", ["mean", "cls", "lasttoken", ("mean", "cls")])
def test_vectors_and_gradients_equal_those_of_padded_texts(modes):
    module = Pooling(4, modes)
    assert can_pool(module, {})
    hidden = torch.randn(sum(LENGTHS), 4, dtype=torch.float64, requires_grad=True)
    cu_seq_lens = torch.tensor([0, 5, 6, 15], dtype=torch.int32)
    packed_vectors, padded_vectors = (
        pool_packed(module, hidden, cu_seq_lens),
        module(padded(hidden))["sentence_embedding"],
    )
    torch.testing.assert_close(packed_vectors, padded_vectors)
    weight = torch.randn_like(packed_vectors)
    (packed_grad,) = torch.autograd.grad((packed_vectors * weight).sum(), hidden)
    (padded_grad,) = torch.autograd.grad((padded_vectors * weight).sum(), hidden)
    torch.testing.assert_close(packed_grad, padded_grad)


def test_half_precision_is_pooled_in_float32():
    hidden = torch.rand(512, 3, dtype=torch.bfloat16)
    vector = pool_packed(Pooling(3, "mean"), hidden, torch.tensor([0, 512], dtype=torch.int32))
    torch.testing.assert_close(vector[0], hidden.double().mean(0).float(), rtol=1e-6, atol=1e-6)


def test_other_modules_and_pooling_modes_are_not_replaced():
    assert not can_pool(Pooling(4, "max"), {})
    assert not can_pool(Pooling(4, "mean"), {"prompt_length": 2})
    assert not can_pool(torch.nn.Identity(), {})

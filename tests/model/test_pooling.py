"""Pooling of packed texts beside sentence-transformers' own over padded ones."""

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
def test_vectors_and_gradients_are_those_of_padded_texts(modes):
    module = Pooling(4, modes)
    assert can_pool(module, {})
    hidden = torch.randn(sum(LENGTHS), 4, dtype=torch.float64, requires_grad=True)
    borders = torch.tensor([0, 5, 6, 15], dtype=torch.int32)
    ours, theirs = pool_packed(module, hidden, borders), module(padded(hidden))["sentence_embedding"]
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    (mine,) = torch.autograd.grad((ours * weight).sum(), hidden)
    (other,) = torch.autograd.grad((theirs * weight).sum(), hidden)
    torch.testing.assert_close(mine, other)


def test_half_precision_is_summed_in_float32():
    hidden = torch.rand(512, 3, dtype=torch.bfloat16)
    vector = pool_packed(Pooling(3, "mean"), hidden, torch.tensor([0, 512], dtype=torch.int32))
    torch.testing.assert_close(vector[0], hidden.double().mean(0).float(), rtol=1e-6, atol=1e-6)


def test_what_another_module_does_is_left_to_it():
    assert not can_pool(Pooling(4, "max"), {})
    assert not can_pool(Pooling(4, "mean"), {"prompt_length": 2})
    assert not can_pool(torch.nn.Identity(), {})

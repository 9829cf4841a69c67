"""Tests that texts are padded for models that do not support packing, and that bugs of embedctl are not hidden."""

from __future__ import annotations

import pytest
import torch

from embedctl.model import token_embedder
from embedctl.model.embedder import Embedder
from embedctl.model.equivalence import comparison_problem, packing_problem


@pytest.fixture
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


def raising(error: Exception):
    def fail(*_args, **_kwargs):
        raise error

    return fail


def test_vectors_of_other_lengths_are_reported(embedder):
    encoders = {"queries": embedder.encode_queries, "passages": embedder.encode_passages}
    assert comparison_problem(embedder, encoders) is None
    scaled = encoders | {"passages": lambda texts: 2 * embedder.encode_passages(texts)}
    problem = str(comparison_problem(embedder, scaled))
    assert problem.startswith("the embeddings of passages differ from those of sentence-transformers")
    assert problem.endswith("(cosine 1.00000, lengths differ by 100.0%)")


def test_a_model_that_supports_packing_is_packed(embedder):
    embedder.train()
    assert packing_problem(embedder, torch.float32) is None
    assert embedder.packed
    assert embedder.training


def test_a_model_without_the_parameters_of_packing_is_padded(embedder, monkeypatch, capfd):
    original = embedder.backbone.forward

    def forward(input_ids, attention_mask=None, position_ids=None):
        return original(input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(embedder.backbone, "forward", forward)
    embedder.choose_attention("packed")
    assert "warning: this model does not support packed texts (" in capfd.readouterr().err
    assert not embedder.packed


@pytest.mark.parametrize("error", [ValueError("soft-capped\nand more"), RuntimeError("head size 512")])
def test_an_error_of_packed_attention_is_reported_in_one_line(embedder, monkeypatch, error):
    monkeypatch.setattr(token_embedder.attention, "packed_attention", raising(error))
    expected = f"this model does not support packed texts ({str(error).splitlines()[0]})"
    assert packing_problem(embedder, torch.float32) == expected


@pytest.mark.parametrize("error", [AttributeError("no such name"), KeyError("cu_seq_lens_q"), IndexError("3")])
def test_a_bug_of_embedctl_is_raised(embedder, monkeypatch, error):
    monkeypatch.setattr(token_embedder, "pool_packed", raising(error))
    with pytest.raises(type(error)):
        packing_problem(embedder, torch.float32)


def test_an_error_of_the_model_with_padded_texts_is_raised(embedder, monkeypatch):
    monkeypatch.setattr(embedder.backbone, "forward", raising(ValueError("no language set")))
    with pytest.raises(ValueError, match="no language set"):
        packing_problem(embedder, torch.float32)


def test_different_vectors_are_reported(embedder, monkeypatch):
    original = token_embedder.pool_packed
    monkeypatch.setattr(token_embedder, "pool_packed", lambda *args: original(*args).flip(-1))
    assert str(packing_problem(embedder, torch.float32)).startswith("packed and padded embeddings differ by")

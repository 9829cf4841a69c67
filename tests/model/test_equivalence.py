"""Models that can't be packed are padded, and a bug of ours is not taken for such a model."""

from __future__ import annotations

import pytest
import torch

from embedctl.model import token_embedder
from embedctl.model.embedder import Embedder
from embedctl.model.equivalence import packing_problem


@pytest.fixture
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


def failing(fault: Exception):
    def fail(*_given, **_named):
        raise fault

    return fail


def test_a_model_that_can_be_packed(embedder):
    embedder.train()
    assert packing_problem(embedder, torch.float32) is None
    assert embedder.packed
    assert embedder.training


def test_a_model_without_the_parameters_is_padded(embedder, monkeypatch, capfd):
    own = embedder.backbone.forward

    def forward(input_ids, attention_mask=None, position_ids=None):
        return own(input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(embedder.backbone, "forward", forward)
    embedder.choose_attention("packed")
    assert "warning: this model can't be packed (" in capfd.readouterr().err
    assert not embedder.packed


@pytest.mark.parametrize("fault", [ValueError("soft-capped\nand more"), RuntimeError("head size 512")])
def test_what_packed_attention_refuses_is_said_in_one_line(embedder, monkeypatch, fault):
    monkeypatch.setattr(token_embedder.attention, "packed_attention", failing(fault))
    assert packing_problem(embedder, torch.float32) == f"this model can't be packed ({str(fault).splitlines()[0]})"


@pytest.mark.parametrize("fault", [AttributeError("no such name"), KeyError("cu_seq_lens_q"), IndexError("3")])
def test_a_bug_of_ours_is_no_property_of_the_model(embedder, monkeypatch, fault):
    monkeypatch.setattr(token_embedder, "pool_packed", failing(fault))
    with pytest.raises(type(fault)):
        packing_problem(embedder, torch.float32)


def test_a_model_that_fails_when_padded_is_not_called_unpackable(embedder, monkeypatch):
    monkeypatch.setattr(embedder.backbone, "forward", failing(ValueError("no language set")))
    with pytest.raises(ValueError, match="no language set"):
        packing_problem(embedder, torch.float32)


def test_vectors_that_differ_are_refused(embedder, monkeypatch):
    pooled = token_embedder.pool_packed
    monkeypatch.setattr(token_embedder, "pool_packed", lambda *given: pooled(*given).flip(-1))
    assert str(packing_problem(embedder, torch.float32)).startswith("packed vectors differ by")

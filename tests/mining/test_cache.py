"""Kept vectors: equal to fresh ones, block by block, never of other weights, prompts, lengths or modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedctl.mining import cache
from embedctl.mining.cache import ArrayCache, digest, fingerprint, kept_encode
from embedctl.model.embedder import Embedder

TEXTS = [f"river stone {place}" for place in range(10)]


@pytest.fixture
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


def test_vectors_are_the_models_fresh_or_kept(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 4)
    expected = embedder.encode(TEXTS, prompt="p: ")
    for found in (0, 10):
        kept = ArrayCache(tmp_path)
        vectors = kept_encode(embedder, kept)(TEXTS, prompt="p: ")
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
        assert kept.found == found
    assert len(list(tmp_path.iterdir())) == 3


def test_a_killed_run_goes_on_where_it_was(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", 4)
    encode, calls = embedder.encode, []

    def killed(texts, **options):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(texts, **options)

    monkeypatch.setattr(embedder, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        kept_encode(embedder, ArrayCache(tmp_path))(TEXTS, prompt="")
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"] * 2
    kept = ArrayCache(tmp_path)
    kept_encode(embedder, kept)(TEXTS, prompt="")
    assert (calls, kept.found) == ([4, 4, 2, 2], 8)


def test_what_a_vector_follows_from_is_in_the_key(embedder, tiny_model):
    first = fingerprint(embedder)
    embedder.encode(TEXTS, prompt="")  # leaves its lengths in the tokenizer
    assert fingerprint(embedder) == first == fingerprint(Embedder.from_pretrained(tiny_model, device="cpu"))
    assert fingerprint(Embedder.from_pretrained(tiny_model, device="cpu", max_len=8)) != first
    embedder.tokenizer.truncation_side = "left"
    assert fingerprint(embedder) != first
    embedder.tokenizer.truncation_side = "right"
    pooling = next(module for module in embedder.model.children() if type(module).__name__ == "Pooling")
    pooling.pooling_mode = ("cls",)
    pooled = fingerprint(embedder)
    assert pooled != first
    with torch.no_grad():
        next(embedder.parameters()).view(-1)[0] += 1e-3
    assert fingerprint(embedder) not in (first, pooled)
    assert digest("a", ["b", "c"]) != digest("a", ["bc"])


def test_other_prompts_and_dimensions_are_other_vectors(embedder, tmp_path):
    kept = ArrayCache(tmp_path)
    encode = kept_encode(embedder, kept)
    for options in ({"prompt": ""}, {"prompt": "p: "}, {"prompt": "", "dim": 8}):
        encode(TEXTS, **options)
    assert kept.found == 0
    assert encode(TEXTS, prompt="", dim=8).shape == (10, 8)
    assert kept.found == 10


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"words"])
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    kept = ArrayCache(tmp_path)
    kept.fetch("r", TEXTS, lambda: np.ones((10, 2), np.float32))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    assert kept.fetch("r", TEXTS, lambda: np.full((10, 2), 7, np.float32)).max() == 7
    assert ArrayCache(tmp_path).fetch("r", TEXTS, lambda: pytest.fail("computed")).max() == 7


def test_the_oldest_go_when_there_are_too_many(tmp_path):
    kept = ArrayCache(tmp_path)
    for number in range(4):
        kept.fetch(str(number), TEXTS, lambda: np.ones((10, 2), np.float32))
    size = next(tmp_path.iterdir()).stat().st_size
    kept.prune(4 * size)
    assert len(list(tmp_path.iterdir())) == 4
    kept.prune(2 * size)
    assert len(list(tmp_path.iterdir())) == 2
    kept.fetch("3", TEXTS, lambda: pytest.fail("the newest went"))


def test_a_folder_that_cannot_be_written_is_said_and_left(tmp_path, capsys):
    Path(tmp_path / "file").write_text("")
    kept = ArrayCache(tmp_path / "file" / "vectors")
    assert kept.fetch("r", TEXTS, lambda: np.ones((10, 2), np.float32)).shape == (10, 2)
    assert "can't be written" in capsys.readouterr().err
    assert kept.folder is None

"""Cached embeddings equal computed ones, and are not reused for other weights, prompts, lengths or modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedctl.mining import cache as cache_module
from embedctl.mining.cache import ArrayCache, cached_encode, digest, embedder_fingerprint
from embedctl.model.embedder import Embedder

TEXTS = [f"river stone {number}" for number in range(10)]


@pytest.fixture
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


def test_cached_vectors_equal_those_of_the_model(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "TEXTS_PER_FILE", 4)
    expected = embedder.encode(TEXTS, prompt="p: ")
    for hits in (0, 10):
        cache = ArrayCache(tmp_path)
        vectors = cached_encode(embedder, cache)(TEXTS, prompt="p: ")
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
        assert cache.hits == hits
    assert len(list(tmp_path.iterdir())) == 3


def test_blocks_finished_before_an_interruption_are_reused(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "TEXTS_PER_FILE", 4)
    encode, block_sizes = embedder.encode, []

    def interrupted_encode(texts, **options):
        block_sizes.append(len(texts))
        if len(block_sizes) == 3:
            raise KeyboardInterrupt
        return encode(texts, **options)

    monkeypatch.setattr(embedder, "encode", interrupted_encode)
    with pytest.raises(KeyboardInterrupt):
        cached_encode(embedder, ArrayCache(tmp_path))(TEXTS, prompt="")
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"] * 2
    cache = ArrayCache(tmp_path)
    cached_encode(embedder, cache)(TEXTS, prompt="")
    assert (block_sizes, cache.hits) == ([4, 4, 2, 2], 8)


def test_the_fingerprint_covers_everything_that_an_embedding_depends_on(embedder, tiny_model):
    first = embedder_fingerprint(embedder)
    embedder.encode(TEXTS, prompt="")  # stores its truncation length in the tokenizer
    assert embedder_fingerprint(embedder) == first
    assert embedder_fingerprint(Embedder.from_pretrained(tiny_model, device="cpu")) == first
    assert embedder_fingerprint(Embedder.from_pretrained(tiny_model, device="cpu", max_len=8)) != first
    embedder.tokenizer.truncation_side = "left"
    assert embedder_fingerprint(embedder) != first
    embedder.tokenizer.truncation_side = "right"
    pooling = next(module for module in embedder.model.children() if type(module).__name__ == "Pooling")
    pooling.pooling_mode = ("cls",)
    other_pooling = embedder_fingerprint(embedder)
    assert other_pooling != first
    with torch.no_grad():
        next(embedder.parameters()).view(-1)[0] += 1e-3
    assert embedder_fingerprint(embedder) not in (first, other_pooling)
    assert digest("a", ["b", "c"]) != digest("a", ["bc"])


def test_other_prompts_and_dimensions_are_cached_separately(embedder, tmp_path):
    cache = ArrayCache(tmp_path)
    encode = cached_encode(embedder, cache)
    for options in ({"prompt": ""}, {"prompt": "p: "}, {"prompt": "", "dim": 8}):
        encode(TEXTS, **options)
    assert cache.hits == 0
    assert encode(TEXTS, prompt="", dim=8).shape == (10, 8)
    assert cache.hits == 10


DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-40],
    "zeroed data": lambda content: content[:128] + bytes(len(content) - 128),
    "one changed bit": lambda content: content[:150] + bytes([content[150] ^ 1]) + content[151:],
    "no digest, as earlier versions wrote it": lambda content: content[:-32],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    cache = ArrayCache(tmp_path)
    cache.get_or_compute("f", TEXTS, lambda: np.ones((10, 2), np.float32))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get_or_compute("f", TEXTS, lambda: np.full((10, 2), 7, np.float32)).max() == 7
    assert ArrayCache(tmp_path).get_or_compute("f", TEXTS, lambda: pytest.fail("computed")).max() == 7


def test_the_least_recently_used_files_are_deleted_above_the_size_limit(tmp_path):
    cache = ArrayCache(tmp_path)
    for number in range(4):
        cache.get_or_compute(str(number), TEXTS, lambda: np.ones((10, 2), np.float32))
    size = next(tmp_path.iterdir()).stat().st_size
    cache.prune(4 * size)
    assert len(list(tmp_path.iterdir())) == 4
    cache.prune(2 * size)
    assert len(list(tmp_path.iterdir())) == 2
    cache.get_or_compute("3", TEXTS, lambda: pytest.fail("the newest file was deleted"))


def test_a_folder_that_cannot_be_written_disables_the_cache_with_a_warning(tmp_path, capsys):
    Path(tmp_path / "file").write_text("")
    cache = ArrayCache(tmp_path / "file" / "vectors")
    assert cache.get_or_compute("f", TEXTS, lambda: np.ones((10, 2), np.float32)).shape == (10, 2)
    assert "cannot be written" in capsys.readouterr().err
    assert cache.folder is None

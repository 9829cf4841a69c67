"""Encoding to files and shards: the same numbers as sentence-transformers, in order, also after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedctl.encoding import encoder as encode
from embedctl.encoding.encoder import Encoder
from embedctl.errors import DataError, ModelError
from embedctl.model.embedder import Embedder
from embedctl.storage.quantization import Quantizer
from embedctl.storage.shards import Shards

TEXTS = [f"{'river stone ' * (number % 7)}cloud {number} 学习" for number in range(50)] + ["", "  spaces  "]


@pytest.fixture(scope="module")
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def reference(tiny_model) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(tiny_model, device="cpu").encode(TEXTS)


def encoder(embedder, dtype: str = "float32") -> Encoder:
    return Encoder(embedder, "", None, None, Quantizer(dtype))


@pytest.mark.parametrize("attention", ["padded", "packed"])
def test_vectors_are_those_of_sentence_transformers(tiny_model, reference, attention):
    made = Embedder.from_pretrained(tiny_model, device="cpu", attention=attention)
    assert np.abs(made.encode(TEXTS, batch_tokens=100) - reference).max() < 1e-5


def test_prompts_and_short_vectors(embedder, tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(tiny_model, device="cpu", truncate_dim=16)
    expected = theirs.encode(TEXTS, prompt="cloud: ", normalize_embeddings=True)
    Encoder(embedder, "cloud: ", 16, None, Quantizer("float32")).to_file(iter(TEXTS), tmp_path / "x.npy")
    found = np.load(tmp_path / "x.npy")
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("block", [7, 1000])
def test_a_file_of_blocks_in_order(block, embedder, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "BLOCK", block)
    tally = encoder(embedder).to_file(iter(TEXTS), tmp_path / "x.npy")
    assert (tally.rows, tally.empty, tally.kept) == (len(TEXTS), 1, 0)
    assert np.abs(np.load(tmp_path / "x.npy") - reference).max() < 1e-5
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npy"]


def test_int8_leaves_its_ranges_beside_it(embedder, tmp_path):
    texts = [f"cloud {number} {'stone ' * (number % 5)}" for number in range(120)]
    encoder(embedder, "int8").to_file(iter(texts), tmp_path / "x.npy")
    floats = embedder.encode(texts)
    assert (np.load(tmp_path / "x.ranges.npy") == np.stack([floats.min(axis=0), floats.max(axis=0)])).all()
    assert np.load(tmp_path / "x.npy").dtype == np.int8


def test_no_text_is_an_error_and_leaves_no_file(embedder, tmp_path):
    with pytest.raises(DataError, match="holds no text"):
        encoder(embedder).to_file(iter([]), tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_vector_that_is_not_finite_is_named(tmp_path, monkeypatch):
    class Broken:
        def encode(self, texts: list[str], **_asked: object) -> np.ndarray:
            vectors = np.ones((len(texts), 2), dtype=np.float32)
            vectors[[text == "bad" for text in texts], 1] = np.nan
            return vectors

    monkeypatch.setattr(encode, "BLOCK", 3)
    with pytest.raises(ModelError, match="vector of text 5 is not finite"):
        encoder(Broken()).to_file(iter(["a", "b", "c", "d", "bad"]), tmp_path / "x.npy")
    assert list(tmp_path.iterdir()) == []


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def to_shards(embedder, folder: Path, texts: Iterator[str], dtype: str = "float32", rows: int = 10) -> encode.Tally:
    shards = Shards(folder, {"model": embedder.weights_hash()}, overwrite=False)
    return encoder(embedder, dtype).to_shards(texts, shards, rows)


@pytest.mark.parametrize(("dtype", "rows"), [("float32", 10), ("int8", 100)])
@pytest.mark.parametrize("read", [0, 1.5, 2.5])
def test_killed_shards_go_on_to_the_same_bytes(dtype, rows, read, embedder, tmp_path):
    """A kill while shard `read` is read; int8 must not learn new ranges from the next shard."""
    texts = [f"{'river stone ' * (number % 7)}cloud {number}" for number in range(3 * rows + 5)]
    to_shards(embedder, tmp_path / "whole", iter(texts), dtype, rows)

    def killed() -> Iterator[str]:
        yield from texts[: int(read * rows)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_shards(embedder, tmp_path / "cut", killed(), dtype, rows)
    assert len(list((tmp_path / "cut").glob("shard-*.npy"))) == int(read)
    tally = to_shards(embedder, tmp_path / "cut", iter(texts), dtype, rows)
    assert (tally.rows, tally.kept) == (len(texts), int(read) * rows)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_shards_hold_the_vectors_in_order(embedder, reference, tmp_path):
    to_shards(embedder, tmp_path, iter(TEXTS))
    parts = [np.load(path) for path in sorted(tmp_path.glob("shard-*.npy"))]
    assert [len(part) for part in parts] == [10, 10, 10, 10, 10, 2]
    assert np.abs(np.concatenate(parts) - reference).max() < 1e-5


def test_finished_shards_are_left_as_they_are(embedder, tmp_path):
    to_shards(embedder, tmp_path, iter(TEXTS))
    before = files_of(tmp_path)
    assert to_shards(embedder, tmp_path, iter(TEXTS)).kept == len(TEXTS)
    assert files_of(tmp_path) == before


def test_no_text_is_no_finished_folder(embedder, tmp_path):
    with pytest.raises(DataError, match="holds no text"):
        to_shards(embedder, tmp_path, iter([]))
    assert b'"complete": false' in files_of(tmp_path)["manifest.json"]

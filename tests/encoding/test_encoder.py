"""Tests of `Encoder`: vectors equal to sentence-transformers, files, shards and continuation after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from embedctl.encoding import encoder
from embedctl.encoding.encoder import Encoder
from embedctl.errors import DataError, ModelError
from embedctl.model.embedder import Embedder
from embedctl.storage.quantization import Quantizer
from embedctl.storage.shards import ShardFolder

TEXTS = [f"{'river stone ' * (number % 7)}cloud {number} 学习" for number in range(50)] + ["", "  spaces  "]


@pytest.fixture(scope="module")
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def reference(tiny_model) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(tiny_model, device="cpu").encode(TEXTS)


def make_encoder(embedder, dtype: str = "float32") -> Encoder:
    return Encoder(embedder, "", None, None, Quantizer(dtype))


@pytest.mark.parametrize("attention", ["padded", "packed"])
def test_vectors_are_those_of_sentence_transformers(tiny_model, reference, attention):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu", attention=attention)
    assert np.abs(embedder.encode(TEXTS, batch_tokens=100) - reference).max() < 1e-5


def test_a_prompt_and_truncated_vectors(embedder, tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    reference_model = SentenceTransformer(tiny_model, device="cpu", truncate_dim=16)
    expected = reference_model.encode(TEXTS, prompt="cloud: ", normalize_embeddings=True)
    Encoder(embedder, "cloud: ", 16, None, Quantizer("float32")).to_file(iter(TEXTS), tmp_path / "x.npy")
    vectors = np.load(tmp_path / "x.npy")
    assert np.abs(vectors - expected).max() < 1e-5
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("block_texts", [7, 1000])
def test_a_file_contains_the_vectors_in_order(block_texts, embedder, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "BLOCK_TEXTS", block_texts)
    counts = make_encoder(embedder).to_file(iter(TEXTS), tmp_path / "x.npy")
    assert (counts.rows, counts.empty, counts.reused) == (len(TEXTS), 1, 0)
    assert np.abs(np.load(tmp_path / "x.npy") - reference).max() < 1e-5
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npy"]


def test_the_ranges_of_int8_are_written_to_a_second_file(embedder, tmp_path):
    texts = [f"cloud {number} {'stone ' * (number % 5)}" for number in range(120)]
    make_encoder(embedder, "int8").to_file(iter(texts), tmp_path / "x.npy")
    floats = embedder.encode(texts)
    assert (np.load(tmp_path / "x.ranges.npy") == np.stack([floats.min(axis=0), floats.max(axis=0)])).all()
    assert np.load(tmp_path / "x.npy").dtype == np.int8


def test_an_empty_input_is_an_error_and_leaves_no_file(embedder, tmp_path):
    with pytest.raises(DataError, match="contains no text"):
        make_encoder(embedder).to_file(iter([]), tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "hint"), [(torch.float32, "another model"), (torch.float16, "--precision float32")])
def test_a_vector_with_nan_is_an_error_with_the_number_of_its_text(tmp_path, monkeypatch, dtype, hint):
    class NanEmbedder:
        def encode(self, texts: list[str], **_options: object) -> np.ndarray:
            vectors = np.ones((len(texts), 2), dtype=np.float32)
            vectors[[text == "bad" for text in texts], 1] = np.nan
            return vectors

    NanEmbedder.dtype = dtype
    monkeypatch.setattr(encoder, "BLOCK_TEXTS", 3)
    with pytest.raises(ModelError, match=r"the embedding of text 5 \(counted from 1\) contains NaN") as error:
        make_encoder(NanEmbedder()).to_file(iter(["a", "b", "c", "d", "bad"]), tmp_path / "x.npy")
    assert hint in error.value.hint
    assert list(tmp_path.iterdir()) == []


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def to_shards(
    embedder, folder: Path, texts: Iterator[str], dtype: str = "float32", rows: int = 10
) -> encoder.TextCounts:
    shards = ShardFolder(folder, {"model": embedder.weights_hash()}, overwrite=False)
    return make_encoder(embedder, dtype).to_shards(texts, shards, rows)


@pytest.mark.parametrize(("dtype", "rows"), [("float32", 10), ("int8", 100)])
@pytest.mark.parametrize("shards_read", [0, 1.5, 2.5])
def test_a_continued_run_writes_the_same_bytes_as_an_uninterrupted_run(dtype, rows, shards_read, embedder, tmp_path):
    """The first run is killed after it has read `shards_read` shards; int8 must keep the ranges of the first shard."""
    texts = [f"{'river stone ' * (number % 7)}cloud {number}" for number in range(3 * rows + 5)]
    to_shards(embedder, tmp_path / "uninterrupted", iter(texts), dtype, rows)

    def interrupted() -> Iterator[str]:
        yield from texts[: int(shards_read * rows)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_shards(embedder, tmp_path / "continued", interrupted(), dtype, rows)
    assert len(list((tmp_path / "continued").glob("shard-*.npy"))) == int(shards_read)
    counts = to_shards(embedder, tmp_path / "continued", iter(texts), dtype, rows)
    assert (counts.rows, counts.reused) == (len(texts), int(shards_read) * rows)
    assert files_of(tmp_path / "continued") == files_of(tmp_path / "uninterrupted")


def test_shards_contain_the_vectors_in_order(embedder, reference, tmp_path):
    to_shards(embedder, tmp_path, iter(TEXTS))
    parts = [np.load(path) for path in sorted(tmp_path.glob("shard-*.npy"))]
    assert [len(part) for part in parts] == [10, 10, 10, 10, 10, 2]
    assert np.abs(np.concatenate(parts) - reference).max() < 1e-5


def test_complete_shards_stay_unchanged(embedder, tmp_path):
    to_shards(embedder, tmp_path, iter(TEXTS))
    before = files_of(tmp_path)
    assert to_shards(embedder, tmp_path, iter(TEXTS)).reused == len(TEXTS)
    assert files_of(tmp_path) == before


def test_the_folder_of_an_empty_input_is_not_complete(embedder, tmp_path):
    with pytest.raises(DataError, match="contains no text"):
        to_shards(embedder, tmp_path, iter([]))
    assert b'"complete": false' in files_of(tmp_path)["manifest.json"]

"""Encoding to files and shards: the same numbers as sentence-transformers, in order, also after a kill."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from embedctl.errors import ConfigError, DataError
from embedctl.model.embedder import Embedder
from embedctl.retrieval.encode import Encoder
from embedctl.retrieval.quantize import Quantizer
from embedctl.retrieval.sinks import Shards, sink_for
from embedctl.retrieval.sources import read_texts

TEXTS = [f"{'river stone ' * (number % 7)}cloud {number} 学习" for number in range(50)] + ["", "  spaces  "]


@pytest.fixture(scope="module")
def embedder(tiny_model) -> Embedder:
    return Embedder.from_pretrained(tiny_model, device="cpu")


def encoder(embedder, dtype="float32", dim=None) -> Encoder:
    return Encoder(embedder, "", dim, None, Quantizer(dtype))


def reference(tiny_model) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(tiny_model, device="cpu").encode(TEXTS)


@pytest.mark.parametrize("attention", ["padded", "packed"])
def test_vectors_are_those_of_sentence_transformers(tiny_model, attention):
    made = Embedder.from_pretrained(tiny_model, device="cpu", attention=attention)
    assert np.abs(made.encode(TEXTS, batch_tokens=100) - reference(tiny_model)).max() < 1e-5


def test_prompts_and_short_vectors(embedder, tiny_model):
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(tiny_model, device="cpu", truncate_dim=16)
    expected = theirs.encode(TEXTS, prompt="cloud: ", normalize_embeddings=True)
    assert np.abs(embedder.encode(TEXTS, prompt="cloud: ", dim=16) - expected).max() < 1e-5


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_every_format_keeps_numbers_and_order(suffix, embedder, tiny_model, tmp_path):
    path = tmp_path / f"vectors{suffix}"
    assert encoder(embedder).to_file(iter(TEXTS), path) == len(TEXTS)
    if suffix == ".npy":
        found = np.load(path)
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["text"] for row in rows] == TEXTS
        found = np.array([row["embedding"] for row in rows])
    else:
        from pyarrow import parquet

        table = parquet.read_table(path).to_pydict()
        assert table["text"] == TEXTS
        found = np.array(table["embedding"])
    assert np.abs(found - reference(tiny_model)).max() < 1e-5
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_failure_leaves_no_file(embedder, tmp_path):
    def broken():
        yield "one"
        raise DataError("later")

    with pytest.raises(DataError):
        encoder(embedder).to_file(broken(), tmp_path / "x.npy")
    assert list(tmp_path.iterdir()) == []


def shards_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_continue_after_a_kill_to_the_same_bytes(embedder, tmp_path):
    recipe = {"model": embedder.weights_hash(), "prompt": ""}
    encoder(embedder).to_shards(iter(TEXTS), Shards(tmp_path / "whole", recipe, overwrite=False), 10)

    def killed():
        yield from TEXTS[:25]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder(embedder).to_shards(killed(), Shards(tmp_path / "cut", recipe, overwrite=False), 10)
    assert len(list((tmp_path / "cut").glob("shard-*.npy"))) == 2
    again = Shards(tmp_path / "cut", recipe, overwrite=False)
    assert again.rows == 20
    assert encoder(embedder).to_shards(iter(TEXTS), again, 10) == len(TEXTS)
    assert shards_of(tmp_path / "cut") == shards_of(tmp_path / "whole")


def test_shards_of_other_weights_are_not_continued(embedder, tmp_path):
    encoder(embedder).to_shards(iter(TEXTS), Shards(tmp_path / "x", {"model": "one"}, overwrite=False), 10)
    with pytest.raises(ConfigError, match="another model"):
        Shards(tmp_path / "x", {"model": "two"}, overwrite=False)
    assert Shards(tmp_path / "x", {"model": "two"}, overwrite=True).rows == 0


@pytest.mark.parametrize("dtype", ["int8", "binary"])
def test_quantised_vectors_are_sentence_transformers_own(dtype):
    quantize_embeddings = import_module("sentence_transformers.util.quantization").quantize_embeddings
    drawn = np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32)
    found = Quantizer(dtype)(drawn)
    ranges = np.stack([drawn.min(axis=0), drawn.max(axis=0)])
    assert (found == quantize_embeddings(drawn, precision=dtype, ranges=ranges)).all()


def test_an_unknown_suffix_is_named(tmp_path):
    with pytest.raises(ConfigError, match="suffix"):
        sink_for(tmp_path / "x.bin")


def test_sources(tmp_path, monkeypatch):
    lines = tmp_path / "a.txt"
    lines.write_text("one\n\ntwo\r\n学习")
    assert list(read_texts(str(lines), "text")) == ["one", "", "two", "学习"]
    rows = tmp_path / "b.jsonl"
    rows.write_text('{"query": "q", "pos": ["a", "b"]}\n"bare"\n')
    assert list(read_texts(str(rows), "pos")) == ["a", "b", "bare"]
    with pytest.raises(DataError, match=r"b\.jsonl:1: text: the key is missing; it has query, pos"):
        list(read_texts(str(rows), "text"))
    table = tmp_path / "c.csv"
    table.write_text('id,text\n1,"hello, world"\n')
    assert list(read_texts(str(table), "text")) == ["hello, world"]
    with pytest.raises(DataError, match="no such file"):
        read_texts(str(tmp_path / "none.txt"), "text")
    with lines.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert list(read_texts("-", "text")) == ["one", "", "two", "学习"]

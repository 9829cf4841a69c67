"""Tests of `encode` and `print_summary`, called from Python with an `EncodeJob`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embedctl.encoding import run
from embedctl.encoding.job import EncodeJob
from embedctl.encoding.run import EncodeResult, encode, print_summary, text_prompt
from embedctl.errors import OutputError
from embedctl.model.embedder import Embedder


@pytest.fixture
def job(tiny_model, tmp_path: Path) -> EncodeJob:
    (tmp_path / "texts.txt").write_text("alpha river\n\ncloud\n")
    return EncodeJob(
        model=tiny_model,
        trust_remote_code=False,
        device="cpu",
        backend="torch",
        precision="float32",
        batch_tokens=None,
        input=str(tmp_path / "texts.txt"),
        field="text",
        prompt_name=None,
        prompt="river ",
        max_len=None,
        dim=16,
        dtype="float16",
        output=tmp_path / "x.npy",
        sharded=False,
        shard_rows=2,
        overwrite=False,
        index="flat",
    )


def test_encode_writes_vectors_and_index_and_prints_nothing_to_stdout(job, tmp_path, capsys):
    result = encode(job)
    vectors = np.load(tmp_path / "x.npy")
    assert (vectors.shape, vectors.dtype) == ((3, 16), np.float16)
    assert (result.counts, result.dim) == (run.TextCounts(rows=3, empty=1, reused=0), 16)
    assert result.index is not None
    assert (result.index["rows"], result.index["prompt"], result.index["recall"]) == (3, "river ", 1.0)
    assert (tmp_path / "x.npy.index/index.faiss").is_file()
    assert capsys.readouterr().out == ""


def test_only_rank_0_writes_the_index(job, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "is_main", lambda: False)
    assert encode(job).index is None
    assert not (tmp_path / "x.npy.index").exists()


def test_a_full_disk_is_an_output_error(job, monkeypatch):
    def _raise_disk_full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "write_vectors", _raise_disk_full)
    with pytest.raises(OutputError, match=r"x\.npy.*: cannot be written: No space left on device \(.* MiB"):
        encode(job)


def test_the_rate_excludes_reused_texts(job, tmp_path, capsys):
    result = EncodeResult(run.TextCounts(rows=1000, reused=400), 16, None, 2.0)
    print_summary(job, result, as_json=False)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"encoded 600 texts to {tmp_path}/x.npy (16 dimensions, float16, 300 texts/s)"
        "; reused the embeddings of 400 texts\n"
    )


@pytest.mark.parametrize(
    ("index", "name", "expected"), [("flat", None, "p: "), (None, None, ""), ("flat", "query", "q: ")]
)
def test_the_texts_of_an_index_get_the_passage_prompt_unless_another_is_named(tiny_model, index, name, expected):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    embedder.set_prompts("q: ", "p: ")
    assert text_prompt(SimpleNamespace(index=index, prompt=None, prompt_name=name), embedder) == expected

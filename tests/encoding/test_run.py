"""A job run from Python: what it writes and what it gives back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedctl.encoding import run
from embedctl.encoding.job import EncodeJob
from embedctl.encoding.run import EncodeResult, encode, report
from embedctl.errors import ConfigError


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


def test_a_job_needs_no_configuration_and_prints_no_result(job, tmp_path, capsys):
    result = encode(job)
    found = np.load(tmp_path / "x.npy")
    assert (found.shape, found.dtype) == ((3, 16), np.float16)
    assert (result.tally.rows, result.tally.empty, result.tally.kept, result.dim) == (3, 1, 0, 16)
    assert result.index is not None
    assert (result.index["rows"], result.index["prompt"], result.index["recall"]) == (3, "river ", 1.0)
    assert (tmp_path / "x.npy.index/index.faiss").is_file()
    assert capsys.readouterr().out == ""


def test_only_rank_0_writes_the_index(job, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "is_main", lambda: False)
    assert encode(job).index is None
    assert not (tmp_path / "x.npy.index").exists()


def test_a_full_disk_is_a_users_error(job, monkeypatch):
    def _full(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "write_vectors", _full)
    with pytest.raises(ConfigError, match=r"x\.npy: can't be written: No space left on device"):
        encode(job)


def test_the_rate_counts_what_was_encoded_now(job, capsys):
    result = EncodeResult(run.Tally(rows=1000, kept=400), 16, None, 2.0)
    report(job, result, as_json=False)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("1,000 texts, 400 of them there already, 16 dimensions, float16, 300 texts/s -> ")

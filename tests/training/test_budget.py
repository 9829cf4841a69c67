"""The token budget, and the error if a GPU runs out of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from embedctl.config import TrainConfig, dump, load
from embedctl.errors import TrainingError
from embedctl.tokens.packing import Ragged
from embedctl.training.budget import explain_out_of_memory, find_budget

OUT_OF_MEMORY = """
import sys
import torch
from embedctl.training import worker

def no_memory(*_arguments, **_options):
    raise torch.OutOfMemoryError("CUDA out of memory")

worker.GradCache.__call__ = no_memory
worker.main(sys.argv[1])
"""


@pytest.mark.parametrize(("checkpointing", "option"), [(False, "--gradient-checkpointing"), (True, "--strategy fsdp")])
def test_hint_contains_half_of_the_tokens(checkpointing, option):
    raises = pytest.raises(TrainingError, match="24,576 tokens")
    with raises as error, explain_out_of_memory(24_576, gradient_checkpointing=checkpointing):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "--tokens-per-forward 12288" in error.value.hint
    assert option in error.value.hint
    assert ("--gradient-checkpointing" in error.value.hint) is not checkpointing


def test_other_errors_are_not_changed():
    with pytest.raises(RuntimeError, match="a bug"), explain_out_of_memory(1000, gradient_checkpointing=False):
        raise RuntimeError("a bug")


def test_memory_of_two_passes_is_extrapolated_to_the_free_memory_of_a_gpu(monkeypatch):
    """A pass takes 1 MiB and 1 KiB per token; 70 of 100 MiB hold 71,680 tokens, rounded down to a power of two."""
    passes = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 5000)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 5000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 5000 + (1 << 20) + 1024 * passes[-1])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (100 << 20, 200 << 20))

    def forward_backward(texts: Ragged) -> None:
        assert set(texts.lengths) == {256}
        assert len(texts.ids) == texts.lengths.sum()
        passes.append(len(texts.ids))

    assert find_budget(SimpleNamespace(max_len=256), torch.device("cuda"), forward_backward) == 65536
    assert passes == [4096, 12288]


def test_worker_that_runs_out_of_memory_reports_a_user_error(tiny_model: str, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "pos": ["b"], "neg": ["c"]}\n' * 3)
    flags = {
        "model_name_or_path": tiny_model,
        "dataset": [str(tmp_path / "rows.jsonl")],
        "output_dir": str(tmp_path),
        "tokens_per_forward": 5000,
        "cpu": True,
    }
    (tmp_path / "config.yaml").write_text(dump(load(TrainConfig, None, flags)))
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / "config.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    report = json.loads((tmp_path / "error.rank0.json").read_text())
    assert report["code"] == 2
    assert "out of GPU memory with 5,000 tokens" in report["message"]
    assert "--tokens-per-forward 2500" in report["hint"]

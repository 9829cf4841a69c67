"""Tokens of a forward, and what a GPU that is out of memory is told."""

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
from embedctl.training.budget import find_budget, memory_advice

OUT_OF_MEMORY = """
import sys
import torch
from embedctl.training import worker

def no_memory(*_arguments, **_options):
    raise torch.OutOfMemoryError("CUDA out of memory")

worker.Stepper.__call__ = no_memory
worker.main(sys.argv[1])
"""


@pytest.mark.parametrize(("recomputes", "knob"), [(False, "--gradient-checkpointing"), (True, "--strategy fsdp")])
def test_advice_names_half_of_what_was_tried(recomputes, knob):
    with pytest.raises(TrainingError, match="24,576 tokens") as wrong, memory_advice(24_576, recomputes=recomputes):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "--tokens-per-forward 12288" in wrong.value.hint
    assert knob in wrong.value.hint
    assert ("--gradient-checkpointing" in wrong.value.hint) is not recomputes


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="a bug"), memory_advice(1000, recomputes=False):
        raise RuntimeError("a bug")


def test_two_passes_on_a_gpu_are_extrapolated_to_its_free_memory(monkeypatch):
    """A pass takes 1 MiB and 1 KiB per token; 70 MiB of 100 hold 71,680 tokens, rounded down to a power of two."""
    passed = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 5000)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 5000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 5000 + (1 << 20) + 1024 * passed[-1])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (100 << 20, 200 << 20))

    def run(texts: Ragged) -> None:
        assert set(texts.lengths) == {256}
        assert len(texts.ids) == texts.lengths.sum()
        passed.append(len(texts.ids))

    assert find_budget(SimpleNamespace(max_len=256), torch.device("cuda"), run) == 65536
    assert passed == [4096, 12288]


def test_a_worker_out_of_memory_ends_as_a_users_mistake(tiny_model: str, tmp_path: Path):
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
    said = json.loads((tmp_path / "error.rank0.json").read_text())
    assert said["code"] == 2
    assert "out of GPU memory with 5,000 tokens" in said["message"]
    assert "--tokens-per-forward 2500" in said["hint"]

"""Saving, loading and finding of checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedctl.errors import ConfigError
from embedctl.run_folder import CHECKPOINTS, RunFolder
from embedctl.training import checkpoint
from embedctl.training.checkpoint import Progress


def save(run: Path, step: int) -> Path:
    checkpoint.save(run, Progress(step, 8, 100, [], 1), {"weight": torch.ones(2)}, keep=5)
    return run / CHECKPOINTS / f"step-{step:08d}"


def test_newest_complete_checkpoint_is_found(tmp_path: Path):
    older, newer = save(tmp_path, 4), save(tmp_path, 12)
    assert checkpoint.find("latest", tmp_path) == checkpoint.find(str(tmp_path), tmp_path) == newer
    assert checkpoint.find(str(older), tmp_path) == older
    (newer / "position.json").write_text("{}")
    assert checkpoint.find("latest", tmp_path) == older


@pytest.mark.parametrize("named", [True, False])
def test_run_without_a_complete_checkpoint_starts_at_step_0(named, tmp_path: Path, capsys):
    (tmp_path / "states" / ".tmp-step-00000004").mkdir(parents=True)
    assert checkpoint.find(str(tmp_path) if named else "latest", tmp_path) is None
    assert "training starts at step 0" in capsys.readouterr().err


def test_other_folder_without_a_checkpoint_is_an_error(tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="no complete checkpoint found"):
        checkpoint.find(str(tmp_path / "other"), tmp_path / "run")
    with pytest.raises(ConfigError, match="no such folder"):
        checkpoint.find(str(tmp_path / "none"), tmp_path / "run")


def test_loaded_checkpoint_equals_the_saved_one(tmp_path: Path):
    progress = Progress(4, 8, 100, [{"step": 2, "metrics": {"nDCG@10": 0.5}}], 1)
    checkpoint.save(tmp_path, progress, {"weight": torch.arange(2.0)}, keep=1)
    tensors = {"weight": torch.zeros(2)}
    assert checkpoint.load(RunFolder(tmp_path).checkpoints[0], tensors) == progress
    assert tensors["weight"].tolist() == [0.0, 1.0]


def test_failed_save_leaves_no_files_and_keeps_older_checkpoints(tmp_path: Path):
    older = save(tmp_path, 4)
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, Progress(8, 8, 100, [{"step": object()}], 1), {"weight": torch.ones(2)}, keep=1)
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == [older.name]
    assert checkpoint.find_damage(older) is None

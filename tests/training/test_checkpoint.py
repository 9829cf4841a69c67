"""Which state `--resume` means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedctl.errors import ConfigError
from embedctl.training import checkpoint
from embedctl.training.checkpoint import Position


def save(run: Path, step: int) -> Path:
    checkpoint.save(run, Position(step, 8, 100, [], 1), {"weight": torch.ones(2)}, keep=5)
    return checkpoint.states_folder(run) / f"step-{step:08d}"


def test_the_newest_whole_state_is_meant(tmp_path: Path):
    older, newer = save(tmp_path, 4), save(tmp_path, 12)
    assert checkpoint.find("latest", tmp_path) == checkpoint.find(str(tmp_path), tmp_path) == newer
    assert checkpoint.find(str(older), tmp_path) == older
    (newer / "position.json").write_text("{}")
    assert checkpoint.find("latest", tmp_path) == older


@pytest.mark.parametrize("named", [True, False])
def test_a_run_killed_before_its_first_state_begins_anew(named, tmp_path: Path, capsys):
    (tmp_path / "states" / ".tmp-step-00000004").mkdir(parents=True)
    assert checkpoint.find(str(tmp_path) if named else "latest", tmp_path) is None
    assert "begins at step 0" in capsys.readouterr().err


def test_another_folder_without_a_state_is_a_mistake(tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="holds no whole state"):
        checkpoint.find(str(tmp_path / "other"), tmp_path / "run")
    with pytest.raises(ConfigError, match="no such folder"):
        checkpoint.find(str(tmp_path / "none"), tmp_path / "run")


def test_a_state_gives_back_what_it_was_given(tmp_path: Path):
    position = Position(4, 8, 100, [{"step": 2, "metrics": {"nDCG@10": 0.5}}], 1)
    checkpoint.save(tmp_path, position, {"weight": torch.arange(2.0)}, keep=1)
    tensors = {"weight": torch.zeros(2)}
    assert checkpoint.load(checkpoint.list_states(tmp_path)[0], tensors) == position
    assert tensors["weight"].tolist() == [0.0, 1.0]


def test_a_state_that_fails_leaves_nothing_and_keeps_the_older_ones(tmp_path: Path):
    older = save(tmp_path, 4)
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, Position(8, 8, 100, [{"step": object()}], 1), {"weight": torch.ones(2)}, keep=1)
    assert [path.name for path in checkpoint.states_folder(tmp_path).iterdir()] == [older.name]
    assert checkpoint.damage(older) is None

"""Which state `--resume` means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedctl.errors import ConfigError
from embedctl.training import checkpoint


def save(run: Path, step: int) -> Path:
    checkpoint.save(run, step, {"weight": torch.ones(2)}, {}, keep=5)
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

"""What trackers are told about a run."""

from __future__ import annotations

from pathlib import Path

from accelerate.tracking import TensorBoardTracker

from embedctl.config import TrainConfig
from embedctl.training.monitor import flat


def test_nested_settings_become_flat_scalars():
    told = flat({"optim": {"lr": 0.1, "max_steps": None}, "data": {"dataset": ["a", "b"]}, "quiet": False})
    assert told == {"optim.lr": 0.1, "optim.max_steps": "None", "data.dataset": "['a', 'b']", "quiet": False}


def test_tensorboard_takes_every_option(tmp_path: Path):
    tracker = TensorBoardTracker("run", tmp_path)
    tracker.start()
    tracker.store_init_configuration(flat(TrainConfig().model_dump(mode="json")))
    tracker.finish()
    assert "optim.lr" in (next(tmp_path.rglob("hparams.yml"))).read_text()

"""Settings and metrics of a run in trackers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from accelerate.tracking import TensorBoardTracker

from embedctl.config import TrainConfig
from embedctl.training.monitor import flatten

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)


def test_nested_settings_are_flattened():
    flat = flatten({"optim": {"lr": 0.1, "max_steps": None}, "data": {"dataset": ["a", "b"]}, "quiet": False})
    assert flat == {"optim.lr": 0.1, "optim.max_steps": "None", "data.dataset": "['a', 'b']", "quiet": False}


def test_tensorboard_accepts_all_options(tmp_path: Path):
    tracker = TensorBoardTracker("run", tmp_path)
    tracker.start()
    tracker.store_init_configuration(flatten(TrainConfig().model_dump(mode="json")))
    tracker.finish()
    assert "optim.lr" in (next(tmp_path.rglob("hparams.yml"))).read_text()


def test_sharded_run_with_a_tracker_saves_a_model(tiny_model: str, tmp_path: Path):
    """The export, which follows the end of the tracker, requires the process group."""
    (tmp_path / "rows.jsonl").write_text('{"query": "river", "pos": ["stone"], "neg": ["cloud"]}\n' * 4)
    flags = ["--num-processes", 2, "--cpu", "--strategy", "fsdp", "--batch-size", 2, "--max-steps", 1]
    out = tmp_path / "out"
    flags += ["--model", tiny_model, "--dataset", tmp_path / "rows.jsonl", "--log-with", "tensorboard", "-o", out]
    ended = runs.embedctl("train", *flags, cache=tmp_path / "cache")
    assert ended.returncode == 0, ended.stderr
    assert (out / "modules.json").exists()
    assert [*out.rglob("events.out.tfevents*")] != []

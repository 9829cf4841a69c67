"""Settings and metrics of a run in trackers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, TensorBoardTracker

from embedctl.config import TrainConfig
from embedctl.training import trackers
from embedctl.training.job import TrainJob
from embedctl.training.monitor import flatten, remove_metrics_after

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


class FailingTracker(GeneralTracker):
    """A tracker that fails in one of its methods."""

    name, requires_logging_directory, main_process_only = "failing", False, True
    fails_in = ""

    def __init__(self, _folder: Path) -> None:
        super().__init__()
        self._fail("init")

    @property
    def tracker(self) -> None:
        return None

    def _fail(self, method: str) -> None:
        if self.fails_in == method:
            raise ConnectionError("the server is gone")

    def store_init_configuration(self, _values: dict[str, object]) -> None:
        self._fail("store")

    def log(self, _values: dict[str, object], step: int | None = None) -> None:
        self._fail("log")

    def finish(self) -> None:
        self._fail("finish")


@pytest.mark.parametrize("method", ["import", "init", "store", "log", "finish"])
def test_a_tracker_that_fails_is_reported_as_a_warning(method, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(FailingTracker, "fails_in", method)
    module = "no.such.module" if method == "import" else "failing_tracker"
    monkeypatch.setitem(sys.modules, "failing_tracker", SimpleNamespace(Failing=FailingTracker))
    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", f"{module}:Failing")
    config = TrainConfig.model_validate({"run": {"log_with": "tensorboard", "output_dir": str(tmp_path)}})
    tracker = trackers.GuardedTracker(Accelerator(cpu=True), TrainJob.from_config(config))
    tracker.start({"lr": 0.1})
    tracker.log({"loss": 1.0}, step=1)
    tracker.finish()
    assert not tracker.works
    warning = capsys.readouterr().err.replace("\n", " ")
    assert warning.count("warning: --log-with tensorboard: the tracker ") == 1
    assert "The run continues without it" in warning


def test_a_damaged_line_of_the_metrics_is_removed(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    for damaged in ('{"step": 3, "lo', "[]", "", "null", '{"loss": 1}'):
        path.write_text('{"step": 1}\n{"step": 2}\n' + damaged)
        remove_metrics_after(path, 5)
        assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
        assert "a line is damaged" in capsys.readouterr().err or not damaged
    remove_metrics_after(path, 0)
    assert path.read_text() == ""

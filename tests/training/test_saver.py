"""The best model is saved in addition to the final one, if they differ."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedctl import console
from embedctl.config import TrainConfig, dump, load
from embedctl.training.export import Samples
from embedctl.training.saver import ModelSaver

FIXED_METRICS = """
import sys
from embedctl.training import worker

values = iter((0.1, 0.9, 0.5))
worker.Evaluator.__call__ = lambda *_arguments: {"nDCG@10": next(values)}
worker.main(sys.argv[1])
"""


def test_best_and_final_model_are_saved(tiny_model: str, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"query": "river", "pos": ["stone"], "neg": ["cloud"]}\n' * 3)
    out = tmp_path / "out"
    out.mkdir()
    flags = {
        "model_name_or_path": tiny_model,
        "dataset": [str(tmp_path / "rows.jsonl")],
        "eval_dataset": [str(tmp_path / "rows.jsonl")],
        "output_dir": str(out),
        "lr": 1e-3,
        "lr_scheduler": "constant",
        "cpu": True,
    }
    (out / "config.yaml").write_text(dump(load(TrainConfig, None, flags)))
    command = [sys.executable, "-c", FIXED_METRICS, str(out / "config.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    best = out / "checkpoints" / "best"
    assert json.loads((best / "embedctl.json").read_text())["metrics"] == {"nDCG@10": 0.9}
    assert json.loads((out / "embedctl.json").read_text())["metrics"] == {"nDCG@10": 0.5}
    assert (best / "model.safetensors").read_bytes() != (out / "model.safetensors").read_bytes()
    assert "nDCG@10 0.9000 at step 1" in ended.stderr


@pytest.mark.parametrize(("value", "warned"), [(0.4, True), (0.5, False), (0.6, False)])
def test_a_model_that_became_worse_is_reported_also_with_quiet(value, warned, capsys):
    history = SimpleNamespace(metric="nDCG@10", best={"step": 0})
    saver = ModelSaver(SimpleNamespace(), None, None, history, Samples([], []))
    summary = SimpleNamespace(base_metrics={"nDCG@10": 0.5}, metrics={"nDCG@10": value})
    console.configure(quiet=True)
    saver._warn_if_worse(summary, final_is_best=False)
    console.configure()
    assert ("nDCG@10 fell from 0.5000 to 0.4000" in capsys.readouterr().err) is warned

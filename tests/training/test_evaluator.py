"""Evaluation during training uses the prompts and the token budget of training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from embedctl.config import TrainConfig, dump, load
from embedctl.evaluation.collections import Collection
from embedctl.model.embedder import Embedder
from embedctl.run_folder import RunFolder
from embedctl.tokens.text_settings import TextSettings
from embedctl.training.evaluator import Evaluator

STOP_AFTER_SAVE = """
import sys
from embedctl.errors import Stopped
from embedctl.training import worker

save = worker.Loop.save_checkpoint

def save_and_stop(loop, done):
    save(loop, done)
    raise Stopped("stopped")

worker.Loop.save_checkpoint = save_and_stop
worker.main(sys.argv[1])
"""

RECORD_BUDGETS = """
import sys
from pathlib import Path
from embedctl.training import evaluator, worker

partition_texts = evaluator.partition_texts

def record(lengths, budget, **options):
    with Path("budgets").open("a") as stream:
        print(budget, file=stream)
    return partition_texts(lengths, budget, **options)

evaluator.partition_texts = record
worker.main(sys.argv[1])
"""


def test_resumed_run_evaluates_with_the_budget_of_the_checkpoint(tiny_model: str, tmp_path: Path):
    """Rounding errors depend on the chunks: with another budget, metrics could differ from an uninterrupted run."""
    (tmp_path / "rows.jsonl").write_text('{"query": "river", "pos": ["stone"], "neg": ["cloud"]}\n' * 4)

    def run(script: str, **flags: object) -> int:
        given = {
            "model_name_or_path": tiny_model,
            "dataset": [str(tmp_path / "rows.jsonl")],
            "eval_dataset": [str(tmp_path / "rows.jsonl")],
            "output_dir": str(tmp_path),
            "batch_size": 2,
            "save_steps": 1,
            "max_steps": 2,
            "cpu": True,
        }
        (tmp_path / "config.yaml").write_text(dump(load(TrainConfig, None, given | flags)))
        command = [sys.executable, "-c", script, str(tmp_path / "config.yaml")]
        return subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode

    assert run(STOP_AFTER_SAVE, tokens_per_forward=300) == 130
    (path,) = RunFolder(tmp_path).checkpoints
    assert json.loads((path / "position.json").read_text())["budget"] == 300
    assert run(RECORD_BUDGETS, tokens_per_forward=900, resume="latest") == 0
    budgets = (tmp_path / "budgets").read_text().split()
    assert len(budgets) >= 2  # the evaluation of the last step, and the check of the export
    assert set(budgets) == {"300"}


def test_prompts_of_training_are_prepended(tiny_model: str):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    collection = Collection({"a": "river", "b": "cloud"}, {"x": "stone"}, {"a": {"x": 1}, "b": {"x": 1}}, {"b": ""})
    evaluator = Evaluator.for_collection(
        SimpleNamespace(embedder=embedder), collection, TextSettings(64, 64, "query: ", "passage: ")
    )
    found = [embedder.tokenizer.decode(ids, skip_special_tokens=True) for ids in texts_of(evaluator)]
    expected = [embedder.tokenizer.decode(embedder.tokenizer(text)["input_ids"], skip_special_tokens=True) for text in (
        "query: river", "cloud", "passage: stone")]  # fmt: skip
    assert found == expected


def texts_of(evaluator: Evaluator) -> list[np.ndarray]:
    """Return the tokens of each text."""
    return np.split(evaluator.texts.ids, np.cumsum(evaluator.texts.lengths)[:-1].astype(int))

"""Evaluation during training uses the prompts and the token budget of training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedctl.config import TrainConfig, dump, load
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.metrics import evaluate_embedder, means
from embedctl.model.embedder import Embedder
from embedctl.model.similarity import COSINE
from embedctl.run_folder import RunFolder
from embedctl.tokens.packing import Ragged
from embedctl.tokens.text_settings import TextSettings
from embedctl.training import evaluator
from embedctl.training.evaluator import Evaluator, encode_distributed
from tests.conftest import save_stating, sentence

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


def test_train_and_eval_rank_by_the_similarity_function_of_the_model(tiny_model: str, tmp_path: Path):
    rows = [{"query": sentence(row), "pos": [sentence(100 + row)], "neg": [sentence(200 + row)]} for row in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base, out = save_stating(tiny_model, tmp_path / "base", "dot"), str(tmp_path / "out")
    train = [
        sys.executable,
        "-m",
        "embedctl",
        "train",
        "--json",
        "--model",
        base,
        "--dataset",
        "rows.jsonl",
        "--eval-dataset",
        "rows.jsonl",
        "-o",
        out,
        "--cpu",
    ]
    train += ["--lr", "1e-3", "--max-steps", "2", "--mrl-dims", "16", "--remine-every-epoch", "--batch-size", "12"]
    ended = subprocess.run(train, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "states the similarity function dot, by which it is evaluated; the losses compare" in ended.stderr
    printed = json.loads(ended.stdout)
    for model, metrics in ((base, printed["before"]), (out, printed["metrics"])):
        embedder = Embedder.from_pretrained(model, device="cpu")
        for dim, suffix in ((None, ""), (16, " dim 16")):
            collection = Collection.from_rows([str(tmp_path / "rows.jsonl")])
            found = means(evaluate_embedder(embedder, collection, dim=dim))
            assert found == pytest.approx({key: metrics[key + suffix] for key in found}, abs=1e-9)
    exported, texts = SentenceTransformer(out, device="cpu"), [sentence(row) for row in range(9)]
    assert exported.similarity_fn_name == "dot"
    np.testing.assert_allclose(embedder.encode(texts), exported.encode(texts), atol=1e-5)
    assert np.ptp(np.linalg.norm(exported.encode(texts), axis=1)) > 0.01  # no normalization was added


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


class FixedVectors:
    """A session whose model returns the vector n for the text with the token n."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.embedder = SimpleNamespace(packed=True, features=lambda texts: texts, similarity=COSINE)
        self.budget, self.model, self.vectors = 4, torch.nn.Identity(), torch.from_numpy(vectors)

    def __call__(self, texts: Ragged) -> torch.Tensor:
        return self.vectors[texts.ids]


def test_vectors_are_prepared_once_after_truncation_as_eval_does(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    session, texts = FixedVectors(vectors), Ragged(np.arange(7, dtype=np.int32), np.ones(7, np.int64))
    np.testing.assert_array_equal(encode_distributed(session, texts), vectors)
    compared = []
    record = lambda _collection, *parts, similarity: compared.append(np.concatenate(parts)) or {"x": {"a": 1.0}}  # noqa: E731
    monkeypatch.setattr(evaluator, "metrics_per_query", record)
    session.embedder.encoded_dimension = lambda _dim: 5
    assert Evaluator(session, SimpleNamespace(queries=[0, 1]), texts, (3,))() == {"x": 1.0, "x dim 3": 1.0}
    np.testing.assert_array_equal(compared[0], COSINE.prepare(vectors))
    np.testing.assert_array_equal(compared[1], COSINE.prepare(vectors[:, :3]))

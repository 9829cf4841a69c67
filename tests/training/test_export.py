"""Export of a model: files that are replaced or kept, the model card, and the comparison of embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Dense

from embedctl.config import TrainConfig, load
from embedctl.errors import ModelError, OutputError
from embedctl.model.embedder import Embedder
from embedctl.run_folder import LIST_FILE
from embedctl.training.export import RunSummary, check_vectors, export
from embedctl.training.job import TrainJob

FACTS = {"rows": 3, "texts": 5, "kinds": {"hard-negatives": 3}}


@pytest.fixture
def summary(tmp_path: Path) -> RunSummary:
    flags = {"mrl_dims": ["32", "64"], "lr": 1e-3, "neg_nums": 7, "output_dir": str(tmp_path)}
    job = TrainJob.from_config(load(TrainConfig, None, flags))
    return RunSummary(job, FACTS, {"nDCG@10": 0.5}, {"nDCG@10": 0.25}, 12)


def test_export_replaces_the_model_and_keeps_other_files(tiny_model: str, tmp_path: Path, summary: RunSummary):
    (tmp_path / "metrics.jsonl").write_text("kept")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "mine.json").touch()
    export(Embedder.from_pretrained(tiny_model, device="cpu"), tmp_path, summary)
    assert (tmp_path / "modules.json").exists()
    assert (tmp_path / "metrics.jsonl").read_text() == "kept"
    assert (tmp_path / "1_Pooling" / "mine.json").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [LIST_FILE]
    assert json.loads((tmp_path / "embedctl.json").read_text())["mrl_dims"] == [32, 64]


def test_weights_that_were_changed_after_the_export_are_refused(tiny_model: str, tmp_path: Path, summary: RunSummary):
    export(Embedder.from_pretrained(tiny_model, device="cpu"), tmp_path, summary)
    Embedder.from_pretrained(str(tmp_path), device="cpu")
    weights = tmp_path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2] + bytes(1000) + content[len(content) // 2 + 1000 :])
    with pytest.raises(ModelError, match=r"the model is damaged: model\.safetensors was changed after it was written"):
        Embedder.from_pretrained(str(tmp_path), device="cpu")
    facts = json.loads((tmp_path / "embedctl.json").read_text())
    (tmp_path / "embedctl.json").write_text(json.dumps(facts | {"files": None}))
    Embedder.from_pretrained(str(tmp_path), device="cpu")


def test_the_weights_of_all_modules_are_checked(tiny_model: str, tmp_path: Path, summary: RunSummary):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    embedder.model.append(Dense(embedder.dimension, 16))
    export(embedder, tmp_path, summary)
    assert set(json.loads((tmp_path / "embedctl.json").read_text())["files"]) == {
        "model.safetensors",
        "3_Dense/model.safetensors",
    }


def test_failed_export_keeps_the_older_model(tiny_model: str, tmp_path: Path, summary: RunSummary, monkeypatch):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    export(embedder, tmp_path, summary)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(_embedder: Embedder, path: Path) -> None:
        (path / "model.safetensors").touch()
        raise OSError("No space left on device")

    monkeypatch.setattr(Embedder, "save", fail)
    with pytest.raises(OutputError, match="No space left"):
        export(embedder, tmp_path, summary)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_model_card_contains_data_metrics_and_parameters(tiny_model: str, tmp_path: Path, summary: RunSummary):
    export(Embedder.from_pretrained(tiny_model, device="cpu"), tmp_path, summary)
    card = (tmp_path / "README.md").read_text()
    for line in (
        f"# {tmp_path.name}",
        "3 rows (hard negatives: 3) with 5 distinct texts, from .",
        "| nDCG@10 | 0.2500 | 0.5000 |",
        "| steps | 12 |",
        "| neg_nums | 7 |",
        "| lr | 0.001 |",
        "The model was trained for truncation to 32, 64 dimensions (`truncate_dim`).",
    ):
        assert line in card.splitlines()


def test_different_embeddings_are_an_error():
    one, other = np.eye(2, dtype=np.float32)
    assert check_vectors(3 * one[None], 3 * one[None], torch.float32, "out") == 1.0
    with pytest.raises(ModelError, match=r"out: the embeddings differ from the trained model's \(cosine 0\.00000\)"):
        check_vectors(one[None], other[None], torch.float32, "out")
    with pytest.raises(ModelError, match=r"\(cosine 1\.00000, lengths differ by 50\.0%\)"):
        check_vectors(one[None], 2 * one[None], torch.float32, "out")


def test_a_model_that_returns_nan_is_no_bug():
    vectors = np.full((1, 2), np.nan, np.float32)
    with pytest.raises(ModelError, match="the trained model returns NaN, because training diverged") as error:
        check_vectors(vectors, vectors, torch.bfloat16, "out")
    assert "a lower --lr" in error.value.hint
    assert "bug" not in error.value.hint

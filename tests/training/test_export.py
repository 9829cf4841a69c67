"""An export stands beside what else is in the folder, and replaces an older model as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedctl.config import TrainConfig, load
from embedctl.errors import ModelError
from embedctl.model.embedder import Embedder
from embedctl.training.export import Account, expect_agreement, export
from embedctl.training.job import TrainJob

FACTS = {"rows": 3, "texts": 5, "kinds": {"hard-negatives": 3}}


@pytest.fixture
def account() -> Account:
    job = TrainJob.of(load(TrainConfig, None, {"mrl_dims": ["32", "64"], "lr": 1e-3, "neg_nums": 7}))
    return Account(job, FACTS, {"nDCG@10": 0.5}, {"nDCG@10": 0.25}, 12)


def test_an_export_replaces_the_model_and_leaves_the_rest(tiny_model: str, tmp_path: Path, account: Account):
    (tmp_path / "metrics.jsonl").write_text("kept")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "old.json").touch()
    export(Embedder.from_pretrained(tiny_model, device="cpu"), tmp_path, account)
    assert (tmp_path / "modules.json").exists()
    assert (tmp_path / "metrics.jsonl").read_text() == "kept"
    assert not (tmp_path / "1_Pooling" / "old.json").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert json.loads((tmp_path / "embedctl.json").read_text())["mrl_dims"] == [32, 64]


def test_a_failed_export_leaves_the_older_model_whole(tiny_model: str, tmp_path: Path, account: Account, monkeypatch):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    export(embedder, tmp_path, account)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(_embedder: Embedder, path: Path) -> None:
        (path / "model.safetensors").touch()
        raise OSError("No space left on device")

    monkeypatch.setattr(Embedder, "save", full)
    with pytest.raises(OSError, match="No space left"):
        export(embedder, tmp_path, account)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_card_tells_data_metrics_and_parameters(tiny_model: str, tmp_path: Path, account: Account):
    export(Embedder.from_pretrained(tiny_model, device="cpu"), tmp_path, account)
    card = (tmp_path / "README.md").read_text()
    for line in (
        "# out",
        "3 rows (3 hard-negatives) from ; 5 distinct texts.",
        "| nDCG@10 | 0.2500 | 0.5000 |",
        "| updates | 12 |",
        "| neg_nums | 7 |",
        "| lr | 0.001 |",
        "Trained so that the leading 32, 64 dimensions stand alone (`truncate_dim`).",
    ):
        assert line in card.splitlines()


def test_vectors_that_differ_are_refused():
    one, other = np.eye(2, dtype=np.float32)
    assert expect_agreement(one[None], one[None], 0.999, "out") == 1.0
    with pytest.raises(ModelError, match=r"out: the vectors differ from the trained model's \(cosine 0.00000\)"):
        expect_agreement(one[None], other[None], 0.999, "out")

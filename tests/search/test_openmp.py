"""torch and faiss each contain an OpenMP runtime. Training, searching and training again in one process must work.

The test starts a separate process, so that a crash or a hang affects only this test. faiss is imported after torch, as
everywhere in embedctl; the other order was tested by hand and works too.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import sys
folder = sys.argv[1]
import numpy as np, torch, faiss
from embedctl.config import TrainConfig, load
from embedctl.model.embedder import Embedder
from embedctl.model.similarity import COSINE
from embedctl.search.exact import search
from embedctl.search.faiss_index import StoredVectors, build_index
from embedctl.training.job import TrainJob
from embedctl.training.worker import run

def train(name):
    flags = {"dataset": f"{folder}/rows.jsonl", "output_dir": f"{folder}/{name}", "max_steps": 3}
    flags |= {"batch_size": 8, "model_name_or_path": f"{folder}/model", "neg_nums": 0, "cpu": True, "quiet": True}
    run(TrainJob.from_config(load(TrainConfig, None, flags)))
    return Embedder.from_pretrained(f"{folder}/{name}", device="cpu").encode([f"tea {n}" for n in range(300)])

for vectors in (train("before"), train("after")):
    scores, ids = faiss.knn(vectors, vectors, 5, metric=faiss.METRIC_INNER_PRODUCT)
    np.testing.assert_allclose(scores, search(vectors, vectors, 5, "cpu", similarity=COSINE)[0], atol=1e-5)
    assert build_index(StoredVectors([vectors], similarity=COSINE), "hnsw").search(vectors[:9], 5)[0].shape == (9, 5)
assert "torch" in sys.modules and "faiss" in sys.modules
print("done")
"""


def test_training_searching_and_training_again_in_one_process(tmp_path):
    from embedctl.model.tiny import build_tiny

    words = np.array(["tea", "water", "leaf", "cup", "kettle", "steam", "garden", "bee"])
    texts = [" ".join(words[np.random.default_rng(seed).integers(0, 8, 6)]) for seed in range(32)]
    rows = [{"query": f"{text} {number}", "pos": [text]} for number, text in enumerate(texts)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = build_tiny(texts, seed=0)
    model[0].auto_model.encoder.layer = model[0].auto_model.encoder.layer[:1]
    model[0].auto_model.config.num_hidden_layers = 1
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    environment = {"EMBEDCTL_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (finished.returncode, finished.stdout) == (0, "done\n"), finished.stderr
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("before", "after")]
    assert hashlib.sha256(weights[0]).digest() == hashlib.sha256(weights[1]).digest()

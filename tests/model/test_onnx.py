"""Vectors of the other runtimes are torch's; these tests run where the extras are installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedctl.errors import ConfigError, ModelError
from embedctl.model import onnx
from embedctl.model.embedder import Embedder
from embedctl.model.onnx import REQUIRED_PACKAGES, RUNTIMES, require_backend_packages, find_spec, use_backend
from tests.conftest import sentence

TEXTS = ["a", *map(sentence, range(40)), sentence(3) * 30]


def require(backend: str) -> None:
    """Skip where the extra is not installed."""
    missing = [name for name in REQUIRED_PACKAGES[backend] if find_spec(name) is None]
    if missing:
        pytest.skip(f"the extra {backend} is not installed: {', '.join(missing)}")


@pytest.mark.parametrize("backend", list(RUNTIMES))
def test_vectors_are_torchs(backend, tiny_model, exports):
    require(backend)
    torchs, theirs = (Embedder.from_pretrained(tiny_model, device="cpu") for _ in range(2))
    use_backend(theirs, backend, exports / "onnx")
    assert np.abs(theirs.encode(TEXTS, batch_tokens=500) - torchs.encode(TEXTS)).max() < 1e-5
    assert theirs.encode(["one"]).shape == (1, 256)
    assert theirs.weights_hash() == torchs.weights_hash()


def test_weights_are_exported_once_and_others_anew(tiny_model, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(onnx, "_export", lambda _backbone, path: (exported.append(path), path.touch()))
    first, again, other = (Embedder.from_pretrained(tiny_model, device="cpu").backbone for _ in range(3))
    with torch.no_grad():
        other.embeddings.word_embeddings.weight[0, 0] += 1
    paths = [onnx._exported(backbone, tmp_path) for backbone in (first, again, other)]
    assert len(exported) == 2
    assert paths[0] == paths[1] != paths[2]
    assert all(path.exists() for path in paths)


def test_a_runtime_that_computes_something_else_is_refused(tiny_model, tmp_path, monkeypatch):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    forward = embedder.backbone.forward

    def wrong(_path, _threads):
        def run(inputs):
            given = {name: torch.from_numpy(value) for name, value in inputs.items()}
            hidden = forward(**given).last_hidden_state.numpy()
            return hidden + np.float32(0.1) * hidden[:, :1]

        return run

    monkeypatch.setattr(onnx, "_exported", lambda *_given: tmp_path)
    monkeypatch.setitem(RUNTIMES, "onnx", wrong)
    with pytest.raises(ModelError, match="its vectors differ from torch's by"):
        use_backend(embedder, "onnx", tmp_path)
    assert "forward" not in vars(embedder.backbone)


@pytest.mark.parametrize(
    ("fault", "raised"), [(RuntimeError("no such operator"), ModelError), (KeyError("ids"), KeyError)]
)
def test_a_runtime_that_fails_leaves_the_model_as_it_was_and_a_bug_of_ours_is_none(
    fault, raised, tiny_model, tmp_path, monkeypatch
):
    def load(_path, _threads):
        def run(_inputs):
            raise fault

        return run

    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    before = embedder.encode(["one"])
    monkeypatch.setattr(onnx, "_exported", lambda *_given: tmp_path)
    monkeypatch.setitem(RUNTIMES, "onnx", load)
    with pytest.raises(raised):
        use_backend(embedder, "onnx", tmp_path)
    assert np.array_equal(embedder.encode(["one"]), before)


@pytest.mark.parametrize("backend", list(RUNTIMES))
def test_a_file_that_a_runtime_can_not_read_is_said_in_one_line(backend, tiny_model, tmp_path, monkeypatch):
    require(backend)
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"no graph at all")
    monkeypatch.setattr(onnx, "_exported", lambda *_given: graph)
    with pytest.raises(ModelError, match="this model can't be run there") as refused:
        use_backend(Embedder.from_pretrained(tiny_model, device="cpu"), backend, tmp_path)
    assert "\n" not in refused.value.message


def test_a_model_that_can_not_be_exported_is_said_in_one_line(tiny_model, tmp_path, monkeypatch):
    def refuse(*_given):
        raise RuntimeError("no such operator\nand forty lines more")

    monkeypatch.setattr(onnx, "_export", refuse)
    with pytest.raises(ModelError, match=r"can't be run there: no such operator$"):
        use_backend(Embedder.from_pretrained(tiny_model, device="cpu"), "onnx", tmp_path)
    assert not list(tmp_path.glob("*/model.onnx"))


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "openvino" else name)
    require_backend_packages("torch")
    with pytest.raises(ConfigError, match="not installed: openvino") as caught:
        require_backend_packages("openvino")
    assert caught.value.hint == "pip install 'embedctl[openvino]'"

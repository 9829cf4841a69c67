"""Tests that ONNX Runtime and OpenVINO give the vectors of torch; skipped if their packages are not installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedctl.errors import ConfigError, ModelError
from embedctl.model import onnx
from embedctl.model.embedder import Embedder
from embedctl.model.onnx import REQUIRED_PACKAGES, RUNTIMES, find_spec, require_backend_packages, use_backend
from tests.conftest import sentence

TEXTS = ["a", *map(sentence, range(40)), sentence(3) * 30]


def skip_unless_installed(backend: str) -> None:
    missing = [name for name in REQUIRED_PACKAGES[backend] if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize("backend", list(RUNTIMES))
def test_vectors_equal_those_of_torch(backend, tiny_model, exports):
    skip_unless_installed(backend)
    reference, embedder = (Embedder.from_pretrained(tiny_model, device="cpu") for _ in range(2))
    use_backend(embedder, backend, exports / "onnx")
    assert np.abs(embedder.encode(TEXTS, batch_tokens=500) - reference.encode(TEXTS)).max() < 1e-5
    assert embedder.encode(["one"]).shape == (1, 256)
    assert embedder.weights_hash() == reference.weights_hash()


def test_each_set_of_weights_is_exported_once(tiny_model, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(onnx, "_export", lambda _backbone, path: (exported.append(path), path.touch()))
    first, same, other = (Embedder.from_pretrained(tiny_model, device="cpu").backbone for _ in range(3))
    with torch.no_grad():
        other.embeddings.word_embeddings.weight[0, 0] += 1
    paths = [onnx._exported_model(backbone, tmp_path) for backbone in (first, same, other)]
    assert len(exported) == 2
    assert paths[0] == paths[1] != paths[2]
    assert all(path.exists() for path in paths)


def test_a_runtime_with_different_vectors_is_rejected(tiny_model, tmp_path, monkeypatch):
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    forward = embedder.backbone.forward

    def load(_path, _threads):
        def infer(inputs):
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            hidden = forward(**tensors).last_hidden_state.numpy()
            return hidden + np.float32(0.1) * hidden[:, :1]

        return infer

    monkeypatch.setattr(onnx, "_exported_model", lambda *_args: tmp_path)
    monkeypatch.setitem(RUNTIMES, "onnx", load)
    with pytest.raises(ModelError, match="the embeddings differ from those of torch by"):
        use_backend(embedder, "onnx", tmp_path)
    assert "forward" not in vars(embedder.backbone)


@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError("no such operator"), ModelError), (KeyError("ids"), KeyError)]
)
def test_after_an_error_of_a_runtime_the_model_is_unchanged_and_bugs_are_not_converted(
    error, raised, tiny_model, tmp_path, monkeypatch
):
    def load(_path, _threads):
        def infer(_inputs):
            raise error

        return infer

    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    before = embedder.encode(["one"])
    monkeypatch.setattr(onnx, "_exported_model", lambda *_args: tmp_path)
    monkeypatch.setitem(RUNTIMES, "onnx", load)
    with pytest.raises(raised):
        use_backend(embedder, "onnx", tmp_path)
    assert np.array_equal(embedder.encode(["one"]), before)


@pytest.mark.parametrize("backend", list(RUNTIMES))
def test_an_unreadable_file_is_reported_in_one_line(backend, tiny_model, tmp_path, monkeypatch):
    skip_unless_installed(backend)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not an ONNX model")
    monkeypatch.setattr(onnx, "_exported_model", lambda *_args: path)
    with pytest.raises(ModelError, match="this model cannot be run with this backend") as caught:
        use_backend(Embedder.from_pretrained(tiny_model, device="cpu"), backend, tmp_path)
    assert "\n" not in caught.value.message


def test_a_failed_export_is_reported_in_one_line(tiny_model, tmp_path, monkeypatch):
    def fail(*_args):
        raise RuntimeError("no such operator\nand forty lines more")

    monkeypatch.setattr(onnx, "_export", fail)
    with pytest.raises(ModelError, match=r"cannot be run with this backend: no such operator$"):
        use_backend(Embedder.from_pretrained(tiny_model, device="cpu"), "onnx", tmp_path)
    assert not list(tmp_path.glob("*/model.onnx"))


def test_a_missing_package_is_reported(monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "openvino" else name)
    require_backend_packages("torch")
    with pytest.raises(ConfigError, match="not installed: openvino") as caught:
        require_backend_packages("openvino")
    assert caught.value.hint == "run `pip install 'embedctl[openvino]'`"

"""Inference of the transformer with ONNX Runtime or OpenVINO on the CPU.

The transformer is exported to the cache folder once for its weights. Before it is used, its vectors are compared with
those of torch. Pooling and later modules run in torch. A new runtime needs one function and one line in `RUNTIMES`.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from embedctl import console
from embedctl.errors import ConfigError, ModelError, first_line
from embedctl.files import build_once
from embedctl.model.embedder import Embedder
from embedctl.model.equivalence import MAX_DIFFERENCE, sample_vectors
from embedctl.model.loading import hash_weights

INPUTS = ("input_ids", "attention_mask")
MODEL_FILE = "model.onnx"
REQUIRED_PACKAGES = {"onnx": ("onnxruntime", "onnx", "onnxscript"), "openvino": ("openvino", "onnx", "onnxscript")}
BACKEND_ERRORS = (
    RuntimeError,  # all errors of torch's exporter, errors of OpenVINO, and outputs of a wrong shape
    OSError,  # the cache folder cannot be written, or a library cannot be loaded
    ImportError,  # incompatible versions of the backend's packages
)
InferenceFunction = Callable[[dict[str, Any]], Any]


def require_backend_packages(backend: str) -> None:
    """Raise a ConfigError if a package that a backend requires is not installed."""
    missing = [name for name in REQUIRED_PACKAGES.get(backend, ()) if find_spec(name) is None]
    if missing:
        problem = f"--backend {backend}: required packages are not installed: {', '.join(missing)}"
        raise ConfigError(problem, f"run `pip install 'embedctl[{backend}]'`")


def use_backend(embedder: Embedder, backend: str, cache: Path) -> None:
    """Replace the forward pass of an embedder's transformer by that of another runtime on the CPU; texts are padded.

    Args:
        embedder: a model with float32 weights, which are not changed; after an error it uses torch as before.
        backend: a key of `RUNTIMES`.
        cache: the folder of exported transformers.

    Raises:
        ModelError: the transformer cannot be exported or run, or its vectors differ from those of torch.
    """
    embedder.set_packed(False)
    backbone = embedder.backbone
    with ExitStack() as undo, torch.no_grad():
        expected = sample_vectors(embedder)
        try:
            backbone.forward = _forward(RUNTIMES[backend](_exported_model(backbone, cache), torch.get_num_threads()))
            undo.callback(delattr, backbone, "forward")
            difference = float((expected - sample_vectors(embedder)).abs().max())
        except BACKEND_ERRORS + _onnxruntime_errors() as cause:
            problem = f"--backend {backend}: this model cannot be run with this backend: {first_line(cause)}"
            raise ModelError(problem, "use --backend torch") from cause
        if not difference <= MAX_DIFFERENCE[torch.float32]:
            problem = f"--backend {backend}: the embeddings differ from those of torch by up to {difference:.1e}"
            raise ModelError(problem, "use --backend torch")
        undo.pop_all()


def _forward(infer: InferenceFunction) -> Callable[..., SimpleNamespace]:
    """Return a replacement for the transformer's `forward` that calls `infer` with the padded texts."""

    def _run(input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        hidden = infer({"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()})
        return SimpleNamespace(last_hidden_state=torch.from_numpy(np.asarray(hidden)))

    return _run


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return the exception classes of ONNX Runtime, which have no common base class; empty if it is not imported."""
    module = sys.modules.get("onnxruntime.capi.onnxruntime_pybind11_state")
    values = vars(module).values() if module else ()
    return tuple(value for value in values if isinstance(value, type) and issubclass(value, Exception))


class _ExportWrapper(torch.nn.Module):
    """The module that is exported: its inputs and its output are tensors."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the last hidden states of padded texts."""
        hidden: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def _exported_model(backbone: Any, cache: Path) -> Path:
    """Return the ONNX file of a transformer and export it if it is missing; other processes wait for the export."""
    cache_key = (hash_weights(backbone), backbone.config.to_json_string(), torch.__version__, transformers.__version__)
    name = hashlib.blake2b("\0".join(cache_key).encode(), digest_size=16).hexdigest()

    def _build(folder: Path) -> None:
        console.info("exporting the model to ONNX; the file is cached for later runs")
        _export(backbone, folder / MODEL_FILE)

    return build_once(cache / name, _build) / MODEL_FILE


def _export(backbone: Any, path: Path) -> None:
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in INPUTS)  # one tensor would be taken for one input
    dynamic_axes = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            _ExportWrapper(backbone).eval(),
            example,
            path,
            dynamo=True,
            verbose=False,
            input_names=INPUTS,
            dynamic_shapes=dict.fromkeys(INPUTS, dynamic_axes),
        )


def _onnxruntime(path: Path, threads: int) -> InferenceFunction:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def _openvino(path: Path, threads: int) -> InferenceFunction:
    import openvino

    # by default OpenVINO computes in bfloat16 if the CPU supports it
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda inputs: request.infer(inputs)[0].copy()  # the next call overwrites the output buffer


RUNTIMES: dict[str, Callable[[Path, int], InferenceFunction]] = {"onnx": _onnxruntime, "openvino": _openvino}

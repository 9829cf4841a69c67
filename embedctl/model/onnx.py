"""A model's transformer computed by ONNX Runtime or OpenVINO on the CPU; everything around it stays as it was.

The transformer is exported once for its weights, into the cache folder, and compared with torch before it is used.
Pooling and the modules behind it are torch's. To add a runtime: one function and one line in `RUNTIMES`.
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
from embedctl.model.loading import hash_weights
from embedctl.model.equivalence import PARITY, probe

INPUTS = ("input_ids", "attention_mask")
GRAPH = "model.onnx"
REQUIRED_PACKAGES = {"onnx": ("onnxruntime", "onnx", "onnxscript"), "openvino": ("openvino", "onnx", "onnxscript")}
UNUSABLE = (
    RuntimeError,  # torch's exporter, whose errors are all of this class, OpenVINO, and tensors of a wrong shape
    OSError,  # a cache folder that can't be written, a library that can't be loaded
    ImportError,  # packages of the extra that don't fit each other
)
Run = Callable[[dict[str, Any]], Any]


def require_backend_packages(backend: str) -> None:
    """Check that the packages of a backend are there.

    Raises:
        ConfigError: they are not.
    """
    missing = [name for name in REQUIRED_PACKAGES.get(backend, ()) if find_spec(name) is None]
    if missing:
        problem = f"--backend {backend}: not installed: {', '.join(missing)}"
        raise ConfigError(problem, f"pip install 'embedctl[{backend}]'")


def use_backend(embedder: Embedder, backend: str, cache: Path) -> None:
    """Let `backend` compute the transformer of a float32 embedder on the CPU; batches are padded.

    Args:
        embedder: its transformer gets another `forward`, where that gives the same vectors, and stays as it is where
            not; its weights stay, so their hash and their number do.
        backend: a name of `RUNTIMES`.
        cache: the folder of exported transformers.

    Raises:
        ModelError: the transformer can't be exported, or computes something else there.
    """
    embedder.set_packed(False)
    backbone = embedder.backbone
    ours = _vectors(embedder)
    with ExitStack() as undo:
        try:
            backbone.forward = _forward(RUNTIMES[backend](_exported(backbone, cache), torch.get_num_threads()))
            undo.callback(delattr, backbone, "forward")
            difference = float((ours - _vectors(embedder)).abs().max())
        except UNUSABLE + _errors_of_onnxruntime() as cause:
            problem = f"this model can't be run there: {first_line(cause)}"
            raise ModelError(f"--backend {backend}: {problem}", "--backend torch") from cause
        if not difference <= PARITY[torch.float32]:
            problem = f"its vectors differ from torch's by {difference:.1e}"
            raise ModelError(f"--backend {backend}: {problem}", "--backend torch")
        undo.pop_all()  # it stays


_vectors = torch.inference_mode()(probe)


def _forward(run: Run) -> Callable[..., SimpleNamespace]:
    """What the transformer's own `forward` does with a padded batch, done by a runtime."""

    def _run(input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        hidden = run({"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()})
        return SimpleNamespace(last_hidden_state=torch.from_numpy(np.asarray(hidden)))

    return _run


def _errors_of_onnxruntime() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which have no class in common; none where it has not been imported."""
    state = sys.modules.get("onnxruntime.capi.onnxruntime_pybind11_state")
    found = vars(state).values() if state else ()
    return tuple(kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception))


class _Graph(torch.nn.Module):
    """Tokens in, hidden states out: what is exported."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states of padded tokens."""
        hidden: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden


def _exported(backbone: Any, cache: Path) -> Path:
    """The ONNX file of a transformer, written if no earlier run did; one process writes while the others wait."""
    recipe = (hash_weights(backbone), backbone.config.to_json_string(), torch.__version__, transformers.__version__)
    name = hashlib.blake2b("\0".join(recipe).encode(), digest_size=16).hexdigest()

    def _build(folder: Path) -> None:
        console.info("exporting the model to ONNX, once for these weights")
        _export(backbone, folder / GRAPH)

    return build_once(cache / name, _build) / GRAPH


@torch.no_grad()
def _export(backbone: Any, path: Path) -> None:
    example = (torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long))
    any_size = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                _Graph(backbone).eval(),
                example,
                str(path),
                dynamo=True,
                verbose=False,
                input_names=INPUTS,
                output_names=("hidden",),
                dynamic_shapes=dict.fromkeys(INPUTS, any_size),
            )
    finally:
        chatter.setLevel(level)


def _onnxruntime(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def _openvino(path: Path, threads: int) -> Run:
    import openvino

    # by default it computes in bfloat16 where the CPU can
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda inputs: request.infer(inputs)[0].copy()  # the request writes its next output over this one


RUNTIMES: dict[str, Callable[[Path, int], Run]] = {"onnx": _onnxruntime, "openvino": _openvino}

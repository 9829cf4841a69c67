"""Functions that start `embedctl` in a subprocess, for the tests of this folder."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def environment(cache: Path) -> dict[str, str]:
    """Return the environment of a run, with `cache` as its cache folder."""
    return os.environ | ENVIRONMENT | {"EMBEDCTL_CACHE": str(cache)}


def command(*arguments: object) -> list[str]:
    """Return the command line of `embedctl` with these arguments."""
    return [sys.executable, "-m", "embedctl", *map(str, arguments)]


def embedctl(*arguments: object, cache: Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `embedctl` in a working folder, by default the current one, until it ends."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(cache),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def weights(folder: Path) -> str:
    """Return a digest of the weights of an exported model."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def save_small_model(texts: Iterable[str], folder: Path, layers: int = 2) -> Path:
    """Save a small BERT without dropout, so that the number of ranks does not change the vectors."""
    from embedctl.model.tiny import build_tiny

    model = build_tiny(texts, seed=1)
    encoder = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:layers]
    encoder.config.num_hidden_layers = layers
    encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(str(folder), create_model_card=False)
    return folder

"""Starting real runs in processes of their own, for the tests of this folder."""

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
    """What a run sees; its token stores go to `cache`."""
    return os.environ | ENVIRONMENT | {"EMBEDCTL_CACHE": str(cache)}


def command(*arguments: object) -> list[str]:
    """`embedctl` with these arguments."""
    return [sys.executable, "-m", "embedctl", *map(str, arguments)]


def embedctl(*arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run `embedctl` to its end."""
    return subprocess.run(
        command(*arguments), env=environment(cache), capture_output=True, text=True, check=False, timeout=300
    )


def weights(folder: Path) -> str:
    """The digest of an exported model's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def save_small_model(texts: Iterable[str], folder: Path, layers: int = 2) -> Path:
    """A small BERT without dropout, so that who encodes what does not matter."""
    from embedctl.model.tiny import build_tiny

    model = build_tiny(texts, seed=1)
    encoder = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:layers]
    encoder.config.num_hidden_layers = layers
    encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(str(folder), create_model_card=False)
    return folder

"""The hub of models: whether it answers, asked once, before huggingface's own retries take a minute of silence.

Where it does not, this process goes on as with HF_HUB_OFFLINE=1: a model in the cache is loaded, any other is an error
at once.
"""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

from embedctl import console

PATIENCE_SECONDS = 10.0  # huggingface's own for one file; without a network the answer comes at once
TRUE_WORDS = {"1", "true", "yes", "on"}


def address() -> str:
    """Where the hub, or its mirror, is."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def is_offline() -> bool:
    """Whether the user keeps huggingface off the network."""
    return any(os.environ.get(name, "").lower() in TRUE_WORDS for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def answers(url: str, patience: float) -> bool:
    """Whether an address answers in so many seconds; looking up its name counts, which a socket's limit leaves out."""
    answered = threading.Event()
    ended = threading.Event()

    def _ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=patience):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            return
        finally:
            ended.set()

    threading.Thread(target=_ask, daemon=True).start()
    ended.wait(patience)
    return answered.is_set()


def settle(model: str) -> None:
    """Go offline if loading `model` would need a hub that does not answer; a model in a folder needs none."""
    if Path(model).exists() or is_offline() or answers(address(), PATIENCE_SECONDS):
        return
    from huggingface_hub import constants

    console.info(f"{address()} does not answer: only a model in the cache can be loaded by its name")
    os.environ["HF_HUB_OFFLINE"] = "1"  # for what this process starts
    constants.HF_HUB_OFFLINE = True

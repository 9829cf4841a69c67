"""Configuration files of models on the Hugging Face Hub, and offline mode if the Hub is not reachable.

Whether the Hub is reachable is checked once. Without this check, the retries of huggingface_hub take about a minute and
print nothing. In offline mode, which is the same as HF_HUB_OFFLINE=1, a cached model is loaded and any other model is
an error immediately.
"""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from functools import cache
from pathlib import Path

from embedctl import console
from embedctl.files import read_json_object

TIMEOUT_SECONDS = 10.0  # huggingface_hub's timeout for one file; without a network, the request fails immediately
TRUE_VALUES = {"1", "true", "yes", "on"}
OWNER, RERANKER_OWNER = "sentence-transformers", "cross-encoder"  # of Hub names without an owner
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIGURATION = ("modules.json", "*config*.json", "*.safetensors.index.json")  # files of a model that name other files


def endpoint() -> str:
    """Return the URL of the Hugging Face Hub or of its mirror."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def is_offline() -> bool:
    """Return whether the user has disabled network access of huggingface_hub or transformers."""
    return any(os.environ.get(name, "").lower() in TRUE_VALUES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def is_reachable(url: str, timeout: float) -> bool:
    """Return whether the server at `url` responds within `timeout` seconds; any HTTP status counts as a response.

    The request runs in a thread because the timeout of a socket does not include the DNS lookup.
    """
    responded = threading.Event()

    def _send_request() -> None:
        with suppress(OSError, ValueError):
            with suppress(urllib.error.HTTPError):
                urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout).close()
            responded.set()

    thread = threading.Thread(target=_send_request, daemon=True)
    thread.start()
    thread.join(timeout)
    return responded.is_set()


def go_offline_if_unreachable(model: str) -> None:
    """Switch to offline mode if `model` is not a local path and the Hugging Face Hub is not reachable."""
    if Path(model).exists() or is_offline() or is_reachable(endpoint(), TIMEOUT_SECONDS):
        return
    from huggingface_hub import constants

    console.info(f"{endpoint()} is not reachable, so only local folders and cached models can be loaded")
    os.environ["HF_HUB_OFFLINE"] = "1"  # for subprocesses
    constants.HF_HUB_OFFLINE = True  # for this process, in which huggingface_hub may already have read the variable


def full_name(model: str, owner: str = OWNER) -> str:
    """Return the name with which sentence-transformers loads a model: it adds an owner to a Hub name without one.

    `owner` is that of the class that loads the model. The path of a folder is returned unchanged.
    """
    if "/" in model or Path(model).is_dir():
        return model
    from sentence_transformers.util.misc import ORIGINAL_TRANSFORMER_MODELS  # bert-base-uncased and others

    return model if model.lower() in ORIGINAL_TRANSFORMER_MODELS else f"{owner}/{model}"


def configuration_folder(model: str) -> Path | None:
    """Return the folder with a model's configuration files. Those of a Hub model are downloaded to the cache.

    Return None if the model is not found, which the library that loads it reports.
    """
    if Path(model).is_dir():
        return Path(model)
    with suppress(OSError, ValueError):
        return _snapshot(full_name(model)) if model.count("/") <= 1 else None
    return None


@cache
def _snapshot(model: str) -> Path:
    """Return the folder of a Hub model in the cache, the same for all calls of a process; a failure is not kept."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, allow_patterns=list(CONFIGURATION)))


def weight_bytes(model: str) -> int | None:
    """Return the size of the weights of a Hub model, which are downloaded to the cache if they are one file.

    Return None if the model has no such files, or is not found.
    """
    from huggingface_hub import hf_hub_download

    go_offline_if_unreachable(model)
    # Both names are tried, because `full_name` imports a library, which takes seconds.
    for name in (model,) if "/" in model else (f"{OWNER}/{model}", model):
        with suppress(OSError, ValueError):
            return Path(hf_hub_download(name, WEIGHTS)).stat().st_size
        with suppress(OSError, ValueError):
            metadata = read_json_object(Path(hf_hub_download(name, WEIGHTS_INDEX))).get("metadata")
            size = metadata.get("total_size") if isinstance(metadata, dict) else None
            return size if isinstance(size, int) else None
    return None

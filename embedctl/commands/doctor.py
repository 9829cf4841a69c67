"""`embedctl doctor`: what is installed, what the machine has, and what to do where something is missing."""

from __future__ import annotations

import os
import platform
import socket
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from embedctl import __version__, console
from embedctl.commands.flags import takes
from embedctl.config import DoctorConfig
from embedctl.errors import CheckFailed
from embedctl.resources import cache_folder

EXAMPLE = "Example: embedctl doctor --json"
NEEDED = {
    "torch": "2.10",
    "transformers": "5.17",
    "sentence-transformers": "6.0",
    "accelerate": "1.15",
    "tokenizers": "0.21",
    "faiss-cpu": "1.10",
    "ir-measures": "0.3.7",
}
EXTRAS = {"peft": "--lora-rank", "wandb": "--log-with wandb", "tensorboard": "--log-with tensorboard", "onnxruntime": "--backend onnx"}
HUB = ("huggingface.co", 443)
PATIENCE_SECONDS = 2.0


@takes(DoctorConfig)
def command(config: DoctorConfig) -> None:
    """Show versions, GPUs, cache folders and whether the hub can be reached."""
    versions = {name: version_of(name) for name in NEEDED}
    problems = [f"{name}: {needed} or newer is needed, {found or 'none'} is installed" for (name, needed), found in zip(NEEDED.items(), versions.values(), strict=True) if too_old(found, needed)]
    gpus = list_gpus() if versions["torch"] else []
    caches = {name: describe(path) for name, path in cache_folders().items()}
    hub = hub_state()
    extras = {name: find_spec(name) is not None for name in EXTRAS}
    console.panel("embedctl doctor", facts(versions, gpus, caches, hub, extras))
    if config.json_output:
        console.result({
            "embedctl": __version__,
            "python": platform.python_version(),
            "versions": versions,
            "cpus": os.cpu_count(),
            "gpus": gpus,
            "caches": caches,
            "hub": hub,
            "extras": extras,
            "problems": problems,
        })
    if problems:
        raise CheckFailed("\n  ".join(problems), "pip install --upgrade " + " ".join(problem.split(":")[0] for problem in problems))


def facts(versions: dict[str, str | None], gpus: list[dict[str, Any]], caches: dict[str, str], hub: str, extras: dict[str, bool]) -> dict[str, str]:
    """The lines of the panel."""
    shown = {"embedctl": f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.machine()}"}
    shown |= {name: found or "not installed" for name, found in versions.items()}
    shown["cpus"] = str(os.cpu_count())
    shown["gpus"] = "; ".join(f"{gpu['name']}, {gpu['gib']:.0f} GiB, {'bf16' if gpu['bf16'] else 'no bf16'}" for gpu in gpus) or "none: training and encoding run on the CPU"
    shown |= {f"cache, {name}": text for name, text in caches.items()}
    shown["hub"] = hub
    shown |= {name: "installed" if there else f"not installed (only needed for {EXTRAS[name]})" for name, there in extras.items()}
    return shown


def version_of(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def too_old(found: str | None, needed: str) -> bool:
    """Whether a version is missing or below the one needed."""
    from packaging.version import Version

    return found is None or Version(found) < Version(needed)


def list_gpus() -> list[dict[str, Any]]:
    """Name, memory in GiB and bf16 of each GPU."""
    import torch

    found = []
    for number in range(torch.cuda.device_count()):
        facts_of = torch.cuda.get_device_properties(number)
        bf16 = facts_of.major >= 8
        found.append({"name": facts_of.name, "gib": facts_of.total_memory / 2**30, "bf16": bf16})
    return found


def cache_folders() -> dict[str, Path]:
    """Where models and token stores are kept."""
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    return {"models": Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub"), "stores": cache_folder("stores")}


def describe(folder: Path) -> str:
    """A folder with its size and whether it can be written."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    writable = "" if os.access(nearest, os.W_OK) else ", NOT writable: set HF_HOME or EMBEDCTL_CACHE"
    return f"{folder} ({size / 2**30:.2f} GiB{writable})"


def hub_state() -> str:
    """Whether model names can be fetched."""
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return "offline by HF_HUB_OFFLINE: models must be local folders or cached"
    try:
        with socket.create_connection(HUB, PATIENCE_SECONDS):
            return "reachable"
    except OSError:
        return "not reachable: models must be local folders or cached"

"""`embedctl doctor`: what is installed, what the machine has, and what to do where something is missing.

Only what embedctl can't do without makes it fail: a package that is absent, too old or can't be imported, example
files that were not installed, a token cache that can't be written. No GPU, no network and no extras are facts.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from embedctl import __version__, console
from embedctl.commands.flags import with_options
from embedctl.config import DoctorConfig
from embedctl.errors import CheckFailed
from embedctl.remote import hub
from embedctl.resources import cache_folder, shipped

EXAMPLE = "Example: embedctl doctor --json"
# Package: its module and the oldest version that embedctl is written for.
NEEDED = {
    "torch": ("torch", "2.10"),
    "transformers": ("transformers", "5.17"),
    "sentence-transformers": ("sentence_transformers", "6.0"),
    "accelerate": ("accelerate", "1.15"),
    "tokenizers": ("tokenizers", "0.21"),
    "faiss-cpu": ("faiss", "1.10"),
    "ir-measures": ("ir_measures", "0.3.7"),
}
# Module: what it serves, and what installs it.
EXTRAS = {
    "peft": ("--lora-rank", "pip install peft"),
    "wandb": ("--log-with wandb", "pip install wandb"),
    "tensorboard": ("--log-with tensorboard", "pip install tensorboard"),
    "trackio": ("--log-with trackio", "pip install trackio"),
    "onnxruntime": ("encode --backend onnx", "pip install onnxruntime onnx onnxscript"),
    "openvino": ("encode --backend openvino", "pip install openvino onnx onnxscript"),
}
IMPORT_FAULTS = (ImportError, OSError, RuntimeError, AttributeError)
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Finding:
    """One fact of this machine; `advice` says what to do, and `broken` that embedctl can't work without it."""

    group: str
    name: str
    value: str
    advice: str = ""
    broken: bool = False

    @property
    def line(self) -> str:
        """What was found, and below it what to do."""
        return f"{'BROKEN: ' if self.broken else ''}{self.value}" + (f"\n-> {self.advice}" if self.advice else "")


@with_options(DoctorConfig)
def command(config: DoctorConfig) -> None:
    """Show versions, GPUs, cache folders and whether the hub can be reached."""
    findings = [*_versions(), *_machine(), *_folders(), _hub(), *_extras()]
    problems = [finding for finding in findings if finding.broken]
    console.panel("embedctl doctor", {finding.name: finding.line for finding in findings})
    if config.json_output:
        console.result({"ok": not problems, "findings": [asdict(finding) for finding in findings]})
    if problems:
        faults = [f"{finding.name}: {finding.value}" for finding in problems]
        raise CheckFailed("\n  ".join(faults), "; ".join(dict.fromkeys(finding.advice for finding in problems)))
    console.info("nothing is missing that embedctl needs")


def _versions() -> Iterator[Finding]:
    """embedctl, and every package that it needs: installed, new enough and importable."""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("version", "embedctl", f"{__version__} on {system}")
    with console.progress("importing", len(NEEDED), "packages") as bar:
        for package, (module, oldest) in NEEDED.items():
            version, fault = _package(package, module, oldest)
            advice = f"pip install --upgrade '{package}>={oldest}'" if fault else ""
            value = ": ".join(part for part in (version, fault) if part)
            yield Finding("version", package, value, advice, broken=bool(fault))
            bar.advance(status=package)


def _package(package: str, module: str, oldest: str) -> tuple[str, str]:
    """The version of a package, and what is wrong with it; each is empty if there is none."""
    from packaging.version import Version

    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return "", "not installed"
    if Version(version) < Version(oldest):
        return version, f"older than {oldest}"
    try:
        importlib.import_module(module)
    except IMPORT_FAULTS as fault:
        return version, f"can't be imported: {fault}".splitlines()[0]
    return version, ""


def _machine() -> Iterator[Finding]:
    """Cores and GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", "CPU cores", str(cores))
    try:
        import torch
    except IMPORT_FAULTS:
        return
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        half = "bf16" if gpu.major >= 8 else "no bf16: --mixed-precision auto computes in float32"
        yield Finding("machine", f"GPU {number}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, {half}")
    if torch.cuda.device_count():
        return
    if torch.backends.mps.is_available():
        yield Finding("machine", "GPU", "Apple's, through mps")
    elif shutil.which("nvidia-smi"):
        yield Finding("machine", "GPU", f"torch {torch.__version__} sees none", "install torch's CUDA build")
    else:
        yield Finding("machine", "GPU", "none; everything runs on the CPU")


def _folders() -> Iterator[Finding]:
    """The shipped files and the caches."""
    try:
        yield Finding("folder", "example data", str(shipped("example_data")))
    except FileNotFoundError as missing:
        yield Finding("folder", "example data", str(missing), "install embedctl again", broken=True)
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    models = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    yield _cache("models", models, "set HF_HOME to a folder that can be written", needed=False)
    yield _cache("token stores", cache_folder(), "set EMBEDCTL_CACHE to a folder that can be written", needed=True)


def _cache(name: str, folder: Path, advice: str, *, needed: bool) -> Finding:
    """A cache folder: its size, its disk's free space, whether it or the folder it would be made in can be written."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    size = sum(path.lstat().st_size for path in folder.rglob("*")) / 2**30 if folder.is_dir() else 0.0
    free = shutil.disk_usage(nearest).free / 2**30
    value = f"{folder} ({size:.1f} GiB, {free:.0f} GiB free)"
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Finding("folder", f"cache of {name}", value)
    return Finding("folder", f"cache of {name}", f"{value} can't be written", advice, broken=needed)


def _hub() -> Finding:
    """Whether models can be fetched by name."""
    local = "name models by folder, or only cached ones"
    if hub.is_offline():
        return Finding("hub", "hub", "offline by HF_HUB_OFFLINE", local)
    if hub.answers(hub.address(), PATIENCE_SECONDS):
        return Finding("hub", "hub", f"{hub.address()} answers")
    return Finding("hub", "hub", f"{hub.address()} does not answer", local)


def _extras() -> Iterator[Finding]:
    for module, (purpose, install) in EXTRAS.items():
        here = find_spec(module) is not None
        value = "installed" if here else f"not installed; only {purpose} needs it"
        yield Finding("extra", module, value, "" if here else install)

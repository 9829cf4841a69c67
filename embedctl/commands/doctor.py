"""`embedctl doctor`: report packages, hardware, cache folders and access to the Hub, each problem with a fix.

The command fails only if embedctl cannot work: a required package is missing, too old or cannot be imported, the
example data are missing, or embedctl's cache cannot be written. A missing GPU, network or optional package is reported
without a failure.
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
from embedctl.credentials import masked
from embedctl.errors import CheckFailed
from embedctl.remote import hub
from embedctl.resources import cache_folder, home_folder, shipped_path

EXAMPLES = r"""
# Show what is installed and what is missing.
embedctl doctor

# Print the same as JSON, for example for a bug report.
embedctl doctor --json
"""
REQUIRED_PACKAGES = {  # package: (module, oldest supported version)
    "torch": ("torch", "2.10"),
    "transformers": ("transformers", "5.17"),
    "sentence-transformers": ("sentence_transformers", "6.0"),
    "accelerate": ("accelerate", "1.15"),
    "tokenizers": ("tokenizers", "0.21"),
    "faiss-cpu": ("faiss", "1.10"),
    "ir-measures": ("ir_measures", "0.3.7"),
}
OPTIONAL_PACKAGES = {  # module: (option that requires it, command that installs it)
    "peft": ("--lora-rank", "pip install 'embedctl[peft]'"),
    "wandb": ("--log-with wandb", "pip install wandb"),
    "tensorboard": ("--log-with tensorboard", "pip install 'embedctl[tensorboard]'"),
    "trackio": ("--log-with trackio", "pip install 'embedctl[trackio]'"),
    "onnxruntime": ("encode --backend onnx", "pip install 'embedctl[onnx]'"),
    "openvino": ("encode --backend openvino", "pip install 'embedctl[openvino]'"),
}
IMPORT_ERRORS = (ImportError, OSError, RuntimeError, AttributeError)
HUB_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class CheckResult:
    """The result of one check. The field names are keys of `--json`."""

    group: str  # version, machine, folder, hub or extra
    name: str
    value: str
    advice: str = ""  # how to fix or improve it; empty if nothing is to be done
    broken: bool = False  # whether embedctl cannot work because of it

    @property
    def text(self) -> str:
        """The value, with the advice on a second line."""
        return f"{'error: ' if self.broken else ''}{self.value}" + (f"\n-> {self.advice}" if self.advice else "")


@with_options(DoctorConfig)
def command(config: DoctorConfig) -> None:
    """Check the installation: versions, GPUs, cache folders and the Hugging Face Hub.

    The output is a list of findings, each with the next action if something is missing. The exit code is 1 if embedctl
    cannot work without what is missing.
    """
    results = [*_check_packages(), *_check_machine(), *_check_folders(), _check_hub(), *_check_optional_packages()]
    problems = [result for result in results if result.broken]
    console.panel("embedctl doctor", {result.name: result.text for result in results})
    if config.json_output:
        console.result({"ok": not problems, "findings": [asdict(result) for result in results]})
    if problems:
        message = "\n  ".join(f"{result.name}: {result.value}" for result in problems)
        advice = {result.advice for result in problems}
        raise CheckFailed(message, advice.pop() if len(advice) == 1 else "follow the hints (->) in the list above")
    console.info("all required packages and folders are available")


def _check_packages() -> Iterator[CheckResult]:
    """Check embedctl and every required package: installed, recent enough and importable."""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield CheckResult("version", "embedctl", f"{__version__} on {system}")
    with console.progress("importing", len(REQUIRED_PACKAGES), "packages") as bar:
        for package, (module, oldest) in REQUIRED_PACKAGES.items():
            version, problem = _check_package(package, module, oldest)
            advice = f"run `pip install --upgrade '{package}>={oldest}'`" if problem else ""
            value = ": ".join(part for part in (version, problem) if part)
            yield CheckResult("version", package, value, advice, broken=bool(problem))
            bar.advance(status=package)


def _check_package(package: str, module: str, oldest: str) -> tuple[str, str]:
    """Return the installed version of a package and its problem; either is empty if there is none."""
    from packaging.version import Version

    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return "", "not installed"
    if Version(version) < Version(oldest):
        return version, f"older than {oldest}"
    try:
        importlib.import_module(module)
    except IMPORT_ERRORS as cause:
        return version, f"cannot be imported: {cause}".splitlines()[0]
    return version, ""


def _check_machine() -> Iterator[CheckResult]:
    """List CPU cores and GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield CheckResult("machine", "CPU cores", str(cores))
    try:
        import torch
    except IMPORT_ERRORS:
        return
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        bf16 = "supports bf16" if gpu.major >= 8 else "no bf16, so --mixed-precision auto uses float32"
        yield CheckResult("machine", f"GPU {number}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, {bf16}")
    if torch.cuda.device_count():
        return
    if torch.backends.mps.is_available():
        yield CheckResult("machine", "GPU", "Apple GPU (mps)")
    elif shutil.which("nvidia-smi"):
        found, advice = f"torch {torch.__version__} finds no GPU", "install a CUDA build of torch: see pytorch.org"
        yield CheckResult("machine", "GPU", found, advice)
    else:
        yield CheckResult("machine", "GPU", "none; all commands run on the CPU")


def _check_folders() -> Iterator[CheckResult]:
    """Check the example data and the cache folders."""
    try:
        yield CheckResult("folder", "example data", str(shipped_path("example_data")))
    except FileNotFoundError as missing:
        advice = "run `pip install --force-reinstall .` in the repository of embedctl"
        yield CheckResult("folder", "example data", str(missing), advice, broken=True)
    home = os.environ.get("HF_HOME") or home_folder() / ".cache" / "huggingface"
    models = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    yield _check_cache("Hugging Face cache", models, "HF_HOME", required=False)
    yield _check_cache("embedctl cache", cache_folder(), "EMBEDCTL_CACHE", required=True)


def _check_cache(name: str, folder: Path, variable: str, *, required: bool) -> CheckResult:
    """Report the size of a cache folder, the free disk space, and whether it can be written.

    If the folder does not exist yet, its nearest existing parent must be writable. `variable` sets another folder.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    size = sum(path.lstat().st_size for path in folder.rglob("*")) / 2**30 if folder.is_dir() else 0.0
    free = shutil.disk_usage(existing).free / 2**30
    value = f"{folder} ({size:.1f} GiB used, {free:.0f} GiB free)"
    if existing.is_dir() and os.access(existing, os.W_OK):
        return CheckResult("folder", name, value)
    advice = f"set the environment variable {variable} to a folder of your own"
    return CheckResult("folder", name, f"{value}: the folder cannot be written", advice, broken=required)


def _check_hub() -> CheckResult:
    """Report whether models can be downloaded from the Hugging Face Hub."""
    name = masked(hub.endpoint())
    value = f"{name} is not reachable"
    advice = "use a model folder, or a model that is already in the Hugging Face cache"
    if hub.is_offline():
        value = "offline mode (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)"
        advice = f"unset these variables to download models, or {advice}"
    elif hub.is_reachable(hub.endpoint(), HUB_TIMEOUT_SECONDS):
        return CheckResult("hub", "Hugging Face Hub", f"{name} is reachable")
    return CheckResult("hub", "Hugging Face Hub", value, advice)


def _check_optional_packages() -> Iterator[CheckResult]:
    for module, (option, install) in OPTIONAL_PACKAGES.items():
        installed = find_spec(module) is not None
        value = "installed" if installed else f"not installed; required only for {option}"
        yield CheckResult("extra", module, value, "" if installed else f"run `{install}`")

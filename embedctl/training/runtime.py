"""Environment of a worker: accelerate's Accelerator, device, precision, strategy and stop signals."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from embedctl import console
from embedctl.config.runs import fsdp_options
from embedctl.console import plural
from embedctl.distributed.launch import choose_strategy, default_accelerate_config
from embedctl.distributed.ranks import is_main
from embedctl.errors import ConfigError, ModelError
from embedctl.signals import handled_stop_signals
from embedctl.training.job import TrainJob

USE_FSDP = "ACCELERATE_USE_FSDP"  # environment variable of accelerate
# Classes of accelerate with a private `_shared_state`, and the keys of it that `_enable_fsdp_on_cpu` requires.
STATE_CLASSES, STATE_KEYS = ("PartialState", "AcceleratorState"), {"device", "distributed_type"}


@dataclass(frozen=True)
class Runtime:
    """Environment of a worker."""

    accelerator: Any
    device: torch.device
    compute_dtype: torch.dtype  # type in which the model computes; weights and optimizer are in float32
    strategy: str  # none, ddp or fsdp
    reason: str  # why this strategy was chosen


def init_runtime(job: TrainJob) -> Runtime:
    """Join the other workers, which accelerate's launcher or a cluster's scheduler started.

    The strategy is chosen from the same values as in the launcher, and overrides accelerate's environment variables.

    Raises:
        ConfigError: accelerate was started for another strategy, or the device does not support the precision.
        ModelError: the workers did not join one process group.
    """
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    strategy, reason = choose_strategy(job.launch.strategy, processes, job.weight_bytes)
    plugin = _fsdp_plugin(job) if strategy == "fsdp" else None
    if plugin is None:
        os.environ.pop(USE_FSDP, None)
    # fp16 is the only precision that requires accelerate's gradient scaler.
    precision = "fp16" if job.launch.mixed_precision == "fp16" else "no"
    project = ProjectConfiguration(project_dir=job.run.output_dir, logging_dir=job.run.output_dir)
    accelerator = Accelerator(mixed_precision=precision, cpu=job.launch.cpu, project_config=project, fsdp_plugin=plugin)
    if accelerator.num_processes != processes:
        found = plural(accelerator.num_processes, "process", "processes")
        message = f"accelerate reports {found}, but {processes:,} were started"
        raise ModelError(message, "start the workers with the command that `embedctl train --dry-run` prints")
    if plugin is not None and accelerator.device.type == "cpu" and not _enable_fsdp_on_cpu(accelerator, plugin):
        strategy, reason = "ddp", "this version of accelerate does not support fsdp on CPUs"
        os.environ.pop(USE_FSDP, None)
        if is_main():
            console.warn(f"--strategy fsdp: {reason}; the run uses ddp")
    _check_strategy(accelerator, strategy)
    if strategy != "fsdp" and is_main() and (options := fsdp_options(job.launch)):
        used = f"the run uses {strategy}" if strategy != "none" else "the run has one process"
        console.warn(f"{used}, so {' and '.join(options)} has no effect")
    compute_dtype = choose_precision(job.launch.mixed_precision, accelerator.device)
    if strategy == "fsdp" and compute_dtype != torch.float32:  # weights stay in float32
        policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32)
        accelerator.state.fsdp_plugin.mixed_precision_policy = policy
    return Runtime(accelerator, accelerator.device, compute_dtype, strategy, reason)


def _fsdp_plugin(job: TrainJob) -> Any:
    """Return accelerate's FSDP settings: those of the job, else of the environment, else those shipped."""
    from accelerate.utils import FullyShardedDataParallelPlugin

    for name, value in default_accelerate_config()["fsdp_config"].items():
        os.environ.setdefault(name.upper(), str(value))
    layers = list(job.launch.fsdp_layers) or None
    return FullyShardedDataParallelPlugin(
        reshard_after_forward=job.launch.fsdp_reshard, transformer_cls_names_to_wrap=layers
    )


def _check_strategy(accelerator: Any, strategy: str) -> None:
    """Raise a ConfigError if accelerate does not use the chosen strategy."""
    distributed_type = str(accelerator.distributed_type.value)
    multi = "ddp" if distributed_type.startswith("MULTI_") else distributed_type
    if {"NO": "none", "FSDP": "fsdp"}.get(distributed_type, multi) != strategy:
        message = f"accelerate was started for {distributed_type}, but the strategy of this run is {strategy}"
        raise ConfigError(message, "start the workers with the accelerate.yaml that `embedctl train --dry-run` writes")


def choose_precision(requested: str, device: torch.device) -> torch.dtype:
    """Return the compute type of --mixed-precision; `auto` is bf16 if the GPU supports it, else float32.

    Raises:
        ConfigError: the device does not support it.
    """
    if requested == "fp16" and device.type != "cuda":
        raise ConfigError("--mixed-precision fp16: a GPU is required", "use --mixed-precision no")
    if requested == "auto":
        requested = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "no"
    return {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[requested]


def _enable_fsdp_on_cpu(accelerator: Any, plugin: Any) -> bool:
    """Set an accelerator on CPUs (gloo) to FSDP, which accelerate supports on GPUs only; return whether it worked.

    If this version of accelerate lacks the required attributes, nothing is changed.
    """
    from accelerate import state
    from accelerate.utils import DistributedType

    found = [getattr(getattr(state, name, None), "_shared_state", None) for name in STATE_CLASSES]
    shared = [values for values in found if isinstance(values, dict) and values.keys() >= STATE_KEYS]
    if len(shared) < len(STATE_CLASSES):
        return False
    before = [dict(values) for values in shared]
    for values in shared:
        values.update(device=torch.device("cpu"), distributed_type=DistributedType.FSDP)
    accelerator.state.fsdp_plugin = plugin
    if getattr(accelerator, "is_fsdp2", False):
        return True
    for values, old in zip(shared, before, strict=True):
        values.clear()
        values.update(old)
    return False


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Append stop signals to the yielded list, and let the process continue so that it can save a checkpoint.

    Stop signals are SIGINT (Ctrl-C), SIGTERM and SIGHUP. An ignored signal stays ignored: nohup ignores SIGHUP.
    """
    received: list[int] = []
    stops = handled_stop_signals()
    previous = [signal.signal(number, lambda caught, _frame: received.append(caught)) for number in stops]
    try:
        yield received
    finally:
        for number, handler in zip(stops, previous, strict=True):
            signal.signal(number, handler)

"""A run as its worker sees it: accelerate's Accelerator, the device, the precision, and stop signals."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from embedctl import console
from embedctl.distributed.launch import choose_strategy, shipped_document
from embedctl.distributed.ranks import is_main
from embedctl.errors import ConfigError, ModelError
from embedctl.training.job import TrainJob
from embedctl.training.trackers import tracker_of

USE_FSDP = "ACCELERATE_USE_FSDP"  # environment variable that accelerate reads
STATES, NEEDED = ("PartialState", "AcceleratorState"), {"device", "distributed_type"}  # of accelerate's internals


@dataclass(frozen=True)
class Runtime:
    """Where a worker runs."""

    accelerator: Any  # accelerate's
    device: torch.device  # this rank's
    compute: torch.dtype  # the type in which the model computes; float32 is the masters' own
    strategy: str  # none, ddp or fsdp
    reason: str  # why


def join(job: TrainJob) -> Runtime:
    """Join the other workers, which accelerate's launcher or a cluster's scheduler started.

    The strategy follows from the values from which the launcher chose it; accelerate is told of it here, whatever the
    environment says.

    Raises:
        ConfigError: accelerate was started for another strategy, or the precision does not exist here.
        ModelError: the processes do not find each other.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    strategy, reason = choose_strategy(job.launch.strategy, processes, job.weight_bytes)
    plugin = _fsdp_plugin() if strategy == "fsdp" else None
    if plugin is None:
        os.environ.pop(USE_FSDP, None)
    accelerator = _accelerator(job, plugin)
    if accelerator.num_processes != processes:
        raise ModelError(f"accelerate sees {accelerator.num_processes} processes where {processes} were started")
    if plugin is not None and accelerator.device.type == "cpu" and not _shard_on_cpu(accelerator, plugin):
        strategy, reason = "ddp", "this version of accelerate can't use fsdp on CPUs"
        os.environ.pop(USE_FSDP, None)
        if is_main():
            console.warn(f"--strategy fsdp: {reason}; the run uses ddp")
    _expect_strategy(accelerator, strategy)
    compute = pick_precision(job.launch.mixed_precision, accelerator.device)
    if strategy == "fsdp":
        _set_sharded_precision(accelerator, compute)
    return Runtime(accelerator, accelerator.device, compute, strategy, reason)


def _accelerator(job: TrainJob, plugin: Any) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    scaled = job.launch.mixed_precision == "fp16"  # the only precision whose gradients need accelerate's scaler
    return Accelerator(
        mixed_precision="fp16" if scaled else "no",
        cpu=job.launch.cpu,
        log_with=tracker_of(job.run.log_with, job.folder),
        project_config=ProjectConfiguration(project_dir=job.run.output_dir, logging_dir=job.run.output_dir),
        fsdp_plugin=plugin,
    )


def _fsdp_plugin() -> Any:
    """Accelerate's settings of FSDP, from its launcher's environment; the shipped ones where that says nothing."""
    from accelerate.utils import FullyShardedDataParallelPlugin

    for name, value in shipped_document()["fsdp_config"].items():
        os.environ.setdefault(name.upper(), str(value))
    return FullyShardedDataParallelPlugin()


def _expect_strategy(accelerator: Any, chosen: str) -> None:
    """Raise a ConfigError if accelerate spreads the run in another way than was chosen."""
    found = str(accelerator.distributed_type.value)
    kind = {"NO": "none", "FSDP": "fsdp"}.get(found, "ddp" if found.startswith("MULTI_") else found)
    if kind != chosen:
        raise ConfigError(
            f"accelerate was started for {found}, and the strategy of this run is {chosen}",
            "start the workers with the accelerate.yaml that `embedctl train --dry-run` writes",
        )


def pick_precision(asked: str, device: torch.device) -> torch.dtype:
    """The compute type: what was asked for, or bf16 where the GPU has it.

    Raises:
        ConfigError: it does not exist on this device.
    """
    if asked == "fp16" and device.type != "cuda":
        raise ConfigError("--mixed-precision fp16: needs a GPU", "use --mixed-precision no")
    if asked == "auto":
        asked = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "no"
    return {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked]


def _set_sharded_precision(accelerator: Any, compute: torch.dtype) -> None:
    """Shards hold float32 masters; layers compute in `compute`, gradients are added up in float32."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if compute != torch.float32:
        policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
        accelerator.state.fsdp_plugin.mixed_precision_policy = policy


def _shard_on_cpu(accelerator: Any, plugin: Any) -> bool:
    """Turn the state of an accelerator on CPUs (gloo) to FSDP, which accelerate itself does on GPUs only.

    Returns:
        Whether this version of accelerate has the attributes for it, and took it; if not, nothing is changed.
    """
    from accelerate import state
    from accelerate.utils import DistributedType

    found = [getattr(getattr(state, name, None), "_shared_state", None) for name in STATES]
    shared = [values for values in found if isinstance(values, dict) and values.keys() >= NEEDED]
    if len(shared) < len(STATES):
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
    """Collect Ctrl-C and SIGTERM in the list that it gives, so that the step can end and a state be saved."""
    received: list[int] = []
    stops = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda came, _frame: received.append(came)) for number in stops]
    try:
        yield received
    finally:
        for number, handler in zip(stops, previous, strict=True):
            signal.signal(number, handler)

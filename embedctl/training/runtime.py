"""A run as its worker sees it: accelerate's Accelerator, the device, the precision, and stop signals."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch

from embedctl.config import TrainConfig
from embedctl.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, ConfigError, ModelError

TESTED_ACCELERATE = ("1.15",)


@dataclass(frozen=True)
class Runtime:
    """Where a worker runs.

    Args:
        accelerator: accelerate's.
        compute: the type in which the model computes; float32 is the masters' own.
        strategy: none, ddp or fsdp.
        reason: why.
    """

    accelerator: Any
    compute: torch.dtype
    strategy: str
    reason: str

    @property
    def device(self) -> torch.device:
        """This rank's device."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def main(self) -> bool:
        """Whether this rank is the one that speaks and writes."""
        return bool(self.accelerator.is_main_process)


def start(config: TrainConfig) -> Runtime:
    """Join the other workers.

    Raises:
        ConfigError: the precision asked for does not exist here.
    """
    strategy, _, reason = os.environ.get("EMBEDCTL_STRATEGY", "").partition(": ")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    fsdp = processes > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if not fsdp:
        os.environ.pop("ACCELERATE_USE_FSDP", None)
    accelerator = _accelerator(config)
    if fsdp and accelerator.device.type == "cpu":
        _promote_to_fsdp(accelerator)
    if accelerator.num_processes != processes:
        raise ModelError(f"accelerate sees {accelerator.num_processes} processes where {processes} were started")
    compute = pick_precision(config.launch.mixed_precision, accelerator.device)
    if fsdp:
        _set_sharded_precision(accelerator, compute)
    return Runtime(accelerator, compute, "fsdp" if fsdp else "ddp" if processes > 1 else "none", reason or strategy)


def _accelerator(config: TrainConfig) -> Any:
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    scaled = config.launch.mixed_precision == "fp16"  # the only precision whose gradients need accelerate's scaler
    trackers = None if config.run.log_with == "none" else config.run.log_with
    project = ProjectConfiguration(project_dir=config.run.output_dir, logging_dir=config.run.output_dir)
    return Accelerator(
        mixed_precision="fp16" if scaled else "no", cpu=config.launch.cpu, log_with=trackers, project_config=project
    )


def pick_precision(asked: str, device: torch.device) -> torch.dtype:
    """The compute type: what was asked for, or bf16 where the GPU has it.

    Raises:
        ConfigError: it does not exist on this device.
    """
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if asked == "fp16" and device.type != "cuda":
        raise ConfigError("--mixed-precision fp16: needs a GPU", "use --mixed-precision no")
    if asked == "auto":
        return torch.bfloat16 if has_bf16 else torch.float32
    return {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked]


def _set_sharded_precision(accelerator: Any, compute: torch.dtype) -> None:
    """Shards hold float32 masters; layers compute in `compute`, gradients are added up in float32."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if compute != torch.float32:
        policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
        accelerator.state.fsdp_plugin.mixed_precision_policy = policy


def _promote_to_fsdp(accelerator: Any) -> None:
    """Accelerate shards on GPUs only; on CPUs (gloo) its state has to be told after the fact.

    Raises:
        ConfigError: this version of accelerate was not tested with it.
    """
    import accelerate
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    if not accelerate.__version__.startswith(TESTED_ACCELERATE):
        raise ConfigError(
            f"--strategy fsdp on CPUs is not tested with accelerate {accelerate.__version__}", "use --strategy ddp"
        )
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    accelerator.state.distributed_type = DistributedType.FSDP
    for state in (PartialState, AcceleratorState):
        state._shared_state["device"] = torch.device("cpu")
        state._shared_state["distributed_type"] = DistributedType.FSDP


@dataclass
class StopSignals:
    """Remembers Ctrl-C and SIGTERM until the step is done, so that a state can be saved."""

    received: int | None = None
    previous: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.received = number

    @property
    def exit_code(self) -> int:
        """Of a run that ends because of the signal."""
        return EXIT_TERMINATED if self.received == signal.SIGTERM else EXIT_INTERRUPTED

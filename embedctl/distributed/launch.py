"""Starting the processes of a job: what accelerate is given, and the exec into the process that supervises them.

A command describes its processes as a `LaunchJob` and replaces itself by `python -m embedctl.distributed.supervise`.
Each process runs the job's worker module with one argument, FOLDER/config.yaml.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from embedctl.errors import ConfigError
from embedctl.files import write_atomically
from embedctl.resources import config_file

SMALL_MODEL_BYTES = 4 << 30  # float32 weights; gradients and AdamW's moments take three times as much again
KINDS = {"none": "NO", "ddp": "MULTI_GPU", "fsdp": "FSDP"}  # accelerate's names


@dataclass(frozen=True)
class LaunchJob:
    """The processes of a job."""

    worker: str  # the module that each process runs
    folder: str  # holds config.yaml; accelerate.yaml and the workers' failure reports are written there
    processes: int | None = None  # of all machines; one per GPU if None
    device: str | None = None  # cpu, a GPU by its name, or None for GPUs where there are any
    cpu_flag: str = "--cpu"  # the command's flag for CPUs, for a hint
    strategy: str = "auto"  # auto, ddp or fsdp
    weight_bytes: int | None = None  # size of the model's weights, None if it is not known
    machines: int = 1  # machines of the job
    machine_rank: int = 0  # which of them this is
    main_process_ip: str | None = None  # address of machine 0
    main_process_port: int = 0  # port of machine 0; 0 takes a free one
    quiet: bool = False  # whether only results and errors are printed
    after_stop: str = ""  # hint after a stop by a signal, for workers that give none of their own
    temporary: bool = False  # whether the folder is removed at the end, unless it holds a traceback

    @property
    def arguments(self) -> list[str]:
        """What follows `accelerate launch`."""
        folder = Path(self.folder)
        return ["--config_file", str(folder / "accelerate.yaml"), "-m", self.worker, str(folder / "config.yaml")]


@dataclass(frozen=True)
class Plan:
    """What a `LaunchJob` becomes on this machine."""

    processes: int  # of all machines
    gpus: bool  # whether they run on GPUs
    strategy: str  # none, ddp or fsdp

    @classmethod
    def of(cls, job: LaunchJob) -> Plan:
        """Processes, devices and strategy from the job and the GPUs of this machine.

        Raises:
            ConfigError: this machine has fewer GPUs than processes, or one GPU was named for all of them.
        """
        import torch

        gpus = 0 if job.device == "cpu" or not torch.cuda.is_available() else torch.cuda.device_count()
        processes = job.processes or max(gpus, 1) * job.machines
        if gpus and processes > 1 and job.device not in (None, "cuda"):
            raise ConfigError(f"--device {job.device}: is one device, for {processes} processes", "leave --device out")
        if gpus and processes > gpus * job.machines:
            message = f"--num-processes {processes}: this machine shows {gpus} GPUs"
            raise ConfigError(message, f"--num-processes {gpus * job.machines}, or {job.cpu_flag}")
        return cls(processes, gpus > 0, choose_strategy(job.strategy, processes, job.weight_bytes)[0])


def choose_strategy(asked: str, processes: int, weight_bytes: int | None) -> tuple[str, str]:
    """`none`, `ddp` or `fsdp`, and the reason. Launcher and workers call it with the same values.

    Args:
        asked: auto, ddp or fsdp.
        processes: of all machines.
        weight_bytes: size of the model's weights, None if it is not known.
    """
    if processes == 1:
        return "none", "one process"
    if asked != "auto":
        return asked, "as asked"
    if weight_bytes is None:
        return "fsdp", "the model's size is not known here"
    if weight_bytes < SMALL_MODEL_BYTES:
        return "ddp", f"{weight_bytes / 2**30:.1f} GiB of weights fit each process, and copies are faster than shards"
    return "fsdp", f"{weight_bytes / 2**30:.1f} GiB of weights are better sharded"


def shipped_document() -> dict[str, Any]:
    """The shipped accelerate configuration for FSDP."""
    document: dict[str, Any] = yaml.safe_load(config_file("default_fsdp.yaml").read_text(encoding="utf-8"))
    return document


def accelerate_document(job: LaunchJob, plan: Plan) -> dict[str, Any]:
    """The shipped configuration with the job's processes, machines and strategy put in."""
    document = shipped_document() | {
        "distributed_type": KINDS[plan.strategy],
        "num_processes": plan.processes,
        "num_machines": job.machines,
        "machine_rank": job.machine_rank,
        "main_process_port": job.main_process_port,
        # for several processes on CPUs, use_cpu would start them apart from each other; the environment says it instead
        "use_cpu": not plan.gpus and plan.strategy == "none",
    }
    if job.main_process_ip:
        document["main_process_ip"] = job.main_process_ip
    if plan.strategy != "fsdp":
        document.pop("fsdp_config")
    return document


def write_launch(job: LaunchJob) -> None:
    """Write FOLDER/accelerate.yaml and set the environment that goes with it.

    Raises:
        ConfigError: the machine lacks GPUs for the job.
    """
    plan = Plan.of(job)
    document = yaml.safe_dump(accelerate_document(job, plan), sort_keys=False)
    write_atomically(Path(job.folder) / "accelerate.yaml", document)
    cores = (os.cpu_count() or 1) // max(1, plan.processes // job.machines)
    os.environ["ACCELERATE_USE_CPU"] = str(not plan.gpus).lower()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))
    if not plan.gpus:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin starve each other on a busy machine


def command_line(job: LaunchJob) -> str:
    """The equivalent `accelerate launch` command, for `--dry-run`."""
    write_launch(job)
    return f"ACCELERATE_USE_CPU={os.environ['ACCELERATE_USE_CPU']} accelerate launch {' '.join(job.arguments)}"


def exec_supervisor(job: LaunchJob) -> NoReturn:
    """Replace this process by the one that supervises the job's workers."""
    os.execv(sys.executable, [sys.executable, "-m", "embedctl.distributed.supervise", json.dumps(asdict(job))])

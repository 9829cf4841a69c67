"""Settings of a job's processes, the configuration of accelerate, and the start of the supervisor.

A command describes its processes as a `LaunchJob` and replaces itself by `python -m embedctl.distributed.supervise`.
Each process runs the job's worker module with one argument, FOLDER/config.yaml.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from embedctl.console import plural
from embedctl.errors import ConfigError
from embedctl.files import write_atomically
from embedctl.resources import config_file

# docs/benchmarks.md: DDP is faster with BERT-base (0.4 GiB of weights), FSDP2 with BERT-large (1.2 GiB).
DDP_MAX_WEIGHT_BYTES = 1 << 30
# Environment variables with which torchrun, accelerate and MPI tell a worker its rank and where the others are.
GROUP_VARIABLE = re.compile(
    "((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_.*"
    "|(PMI|OMPI_COMM_WORLD|MV2_COMM_WORLD)_.*|MPI_LOCALN?RANK(ID|S)"
)
COMMAND_VARIABLES = ("ACCELERATE_USE_CPU", "OMP_NUM_THREADS")  # that `command_line` contains
DISTRIBUTED_TYPES = {"none": "NO", "ddp": "MULTI_GPU", "fsdp": "FSDP"}  # strategy -> accelerate's `distributed_type`


@dataclass(frozen=True)
class LaunchJob:
    """Settings of the processes of a job."""

    worker: str  # the module that each process runs
    folder: str  # contains config.yaml; accelerate.yaml and the workers' failure reports are written to it
    processes: int | None = None  # total number over all machines; None: one per GPU
    device: str | None = None  # "cpu", the name of a GPU, or None: the GPUs, or the CPU if there is no GPU
    cpu_option: str = "--cpu"  # the command's option for running on CPUs, for a hint
    memory_option: str = "--tokens-per-forward"  # the command's option that limits memory, for a hint
    strategy: str = "auto"  # auto, ddp or fsdp
    weight_bytes: int | None = None  # size of the model's weights, None if unknown
    fsdp_reshard: bool = True  # with fsdp: whether to free the weights of a layer after its forward pass
    fsdp_layers: list[str] = field(default_factory=list)  # with fsdp: classes of the layers to shard
    machines: int = 1  # number of machines
    machine_rank: int = 0  # number of this machine, from 0
    main_process_ip: str | None = None  # address of machine 0
    main_process_port: int = 0  # port of machine 0; 0: any free port
    quiet: bool = False  # print only results and errors
    stop_hint: str = ""  # hint after a stop by a signal, if the workers give none
    lock_files: list[str] = field(default_factory=list)  # of the outputs; the supervisor removes them at the end
    remove_folder: bool = False  # remove the folder at the end, unless it contains a traceback

    @property
    def arguments(self) -> list[str]:
        """The arguments of `accelerate launch`."""
        folder = Path(self.folder)
        return ["--config_file", str(folder / "accelerate.yaml"), "-m", self.worker, str(folder / "config.yaml")]


@dataclass(frozen=True)
class LaunchPlan:
    """Number of processes, device and strategy of a `LaunchJob` on this machine."""

    processes: int  # total number over all machines
    uses_gpus: bool  # whether the processes run on GPUs
    strategy: str  # none, ddp or fsdp

    @classmethod
    def from_job(cls, job: LaunchJob) -> LaunchPlan:
        """Choose processes, device and strategy from the job and the GPUs of this machine.

        Raises:
            ConfigError: this machine has fewer GPUs than processes, or one GPU is named for several processes.
        """
        import torch

        gpus = 0 if job.device == "cpu" or not torch.cuda.is_available() else torch.cuda.device_count()
        processes = job.processes or max(gpus, 1) * job.machines
        if gpus and processes > 1 and job.device not in (None, "cuda"):
            message = f"--device {job.device}: {processes} processes cannot share one device"
            raise ConfigError(message, "omit --device")
        if gpus and processes > gpus * job.machines:
            message = f"--num-processes {processes}: this machine has only {plural(gpus, 'GPU')}"
            if job.machines > 1:
                message += f", so {job.machines} such machines can run {gpus * job.machines} processes"
            raise ConfigError(message, f"use --num-processes {gpus * job.machines}, or {job.cpu_option}")
        return cls(processes, gpus > 0, choose_strategy(job.strategy, processes, job.weight_bytes)[0])


def choose_strategy(requested: str, processes: int, weight_bytes: int | None) -> tuple[str, str]:
    """Return the strategy (`none`, `ddp` or `fsdp`) and the reason for it.

    The launcher and the workers call this with the same values; `processes` is the total over all machines.
    """
    if processes == 1:
        return "none", "one process"
    if requested != "auto":
        return requested, "set by --strategy"
    if weight_bytes is None:
        return "fsdp", "the size of the model is unknown"
    size = f"{weight_bytes / 2**20:,.0f} MiB of weights"
    if weight_bytes < DDP_MAX_WEIGHT_BYTES:
        return "ddp", f"{size} fit into each process, and ddp is faster than fsdp"
    return "fsdp", f"{size} are sharded, which is faster than ddp and saves memory"


def default_accelerate_config() -> dict[str, Any]:
    """Return the accelerate configuration for FSDP that is shipped with embedctl."""
    config: dict[str, Any] = yaml.safe_load(config_file("default_fsdp.yaml").read_text(encoding="utf-8"))
    return config


def accelerate_config(job: LaunchJob, plan: LaunchPlan) -> dict[str, Any]:
    """Return the shipped accelerate configuration with the processes, machines and strategy of the job."""
    config = default_accelerate_config() | {
        "distributed_type": DISTRIBUTED_TYPES[plan.strategy],
        "num_processes": plan.processes,
        "num_machines": job.machines,
        "machine_rank": job.machine_rank,
        "main_process_port": job.main_process_port,
        # With use_cpu, accelerate starts several processes as independent runs of one process each. Several processes
        # on CPUs are therefore requested by ACCELERATE_USE_CPU (`write_launch`).
        "use_cpu": not plan.uses_gpus and plan.strategy == "none",
    }
    if job.main_process_ip:
        config["main_process_ip"] = job.main_process_ip
    if plan.strategy != "fsdp":
        config.pop("fsdp_config")
        return config
    config["fsdp_config"]["fsdp_reshard_after_forward"] = job.fsdp_reshard
    if job.fsdp_layers:
        config["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"] = ",".join(job.fsdp_layers)
    return config


def write_launch(job: LaunchJob) -> None:
    """Write FOLDER/accelerate.yaml and set the environment variables that it requires.

    Variables that another job left behind, for example in a shell that a scheduler started, are removed: with them, the
    workers would wait for the processes of that job.

    Raises:
        ConfigError: this machine has fewer GPUs than processes, one GPU is named for several processes, or a variable
            of the environment is invalid.
    """
    plan = LaunchPlan.from_job(job)
    config = yaml.safe_dump(accelerate_config(job, plan), sort_keys=False)
    write_atomically(Path(job.folder) / "accelerate.yaml", config)
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if not threads.isdigit():
        raise ConfigError(f"OMP_NUM_THREADS={threads}: an integer is expected", "run `unset OMP_NUM_THREADS`")
    for name in filter(GROUP_VARIABLE.fullmatch, list(os.environ)):
        del os.environ[name]
    cores = (os.cpu_count() or 1) // max(1, plan.processes // job.machines)
    os.environ["ACCELERATE_USE_CPU"] = str(not plan.uses_gpus).lower()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))
    if not plan.uses_gpus:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow each other down on a busy machine


def command_line(job: LaunchJob) -> str:
    """Write the launch files (see `write_launch`) and return the equivalent `accelerate launch` command for a shell.

    On CPUs it contains the number of threads, because sums of floating-point numbers depend on it.
    """
    write_launch(job)
    names = COMMAND_VARIABLES if os.environ["ACCELERATE_USE_CPU"] == "true" else COMMAND_VARIABLES[:1]
    variables = [f"{name}={shlex.quote(os.environ[name])}" for name in names]
    return " ".join([*variables, shlex.join([*launcher_words(), *job.arguments])])


def launcher_words() -> list[str]:
    """Return `accelerate launch`, unless the shell would find the one of another Python or none."""
    found = shutil.which("accelerate")
    if found and Path(found).parent == Path(sys.executable).parent:
        return ["accelerate", "launch"]
    return [sys.executable, "-m", "accelerate.commands.launch"]


def exec_supervisor(job: LaunchJob) -> NoReturn:
    """Replace this process by the supervisor of the job's workers."""
    if Path.cwd() != Path(__file__).parents[2]:  # unless embedctl itself is imported from the working folder
        # `python -m` would import Python files of the working folder, which may be the folder of a model.
        os.environ["PYTHONSAFEPATH"] = "1"
    os.execv(sys.executable, [sys.executable, "-m", "embedctl.distributed.supervise", json.dumps(asdict(job))])

"""Starting the workers: what is handed to accelerate, and the shim that runs its launcher and reads its failures.

`embedctl train` replaces itself by `python -m embedctl.distributed.launch OUT`. The shim writes OUT/accelerate.yaml,
starts `-m embedctl.training.worker OUT/config.yaml` through accelerate and turns what comes back into one message and
exit code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys

if __name__ == "__main__":  # Ctrl-C while this and the launcher are imported: end without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from embedctl import console
from embedctl.config import TINY, TrainConfig, load
from embedctl.distributed.worker import LAUNCHER
from embedctl.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_TERMINATED
from embedctl.resources import config_file

WORKER = "embedctl.training.worker"
SIGNAL_EXIT = 128
SMALL_MODEL_BYTES = 4 << 30  # float32 weights; gradients and AdamW's moments take three times as much again


@dataclass(frozen=True)
class Plan:
    """How a run is spread.

    Args:
        processes: of all machines.
        gpus: whether they run on GPUs.
        strategy: none, ddp or fsdp.
        reason: why that one.
    """

    processes: int
    gpus: bool
    strategy: str
    reason: str


def plan(config: TrainConfig) -> Plan:
    """Processes and strategy from the flags, the machine and the model's size."""
    import torch

    gpus = 0 if config.launch.cpu else torch.cuda.device_count()
    local = config.launch.num_processes or max(gpus, 1) * config.launch.num_machines
    strategy, reason = choose_strategy(config, local)
    return Plan(local, gpus > 0, strategy, reason)


def choose_strategy(config: TrainConfig, processes: int) -> tuple[str, str]:
    """`ddp` or `fsdp`, and why; `none` for one process."""
    if processes == 1:
        return "none", "one process"
    if config.launch.strategy != "auto":
        return config.launch.strategy, "as asked"
    size = weight_bytes(config.model.model_name_or_path)
    if size is None:
        return "fsdp", "the model's size is not known here"
    if size < SMALL_MODEL_BYTES:
        return "ddp", f"{size / 2**30:.1f} GiB of weights fit each process, and copies are faster than shards"
    return "fsdp", f"{size / 2**30:.1f} GiB of weights are better sharded"


def weight_bytes(model: str) -> int | None:
    """Bytes of a local model's weights, None for a model that is not here."""
    if model == TINY:
        return 40 << 20
    files = [*Path(model).glob("*.safetensors"), *Path(model).glob("*.bin")] if Path(model).is_dir() else []
    return sum(file.stat().st_size for file in files) or None


def accelerate_config(config: TrainConfig, spread: Plan) -> dict[str, Any]:
    """The shipped FSDP file with this run's processes, machines and strategy put in."""
    document: dict[str, Any] = yaml.safe_load(config_file("default_fsdp.yaml").read_text(encoding="utf-8"))
    kinds = {"none": "NO", "ddp": "MULTI_GPU", "fsdp": "FSDP"}
    launch = config.launch
    document |= {
        "distributed_type": kinds[spread.strategy],
        "num_processes": spread.processes,
        "num_machines": launch.num_machines,
        "machine_rank": launch.machine_rank,
        "main_process_port": launch.main_process_port,
        # for several processes on CPUs, use_cpu would start them apart from each other; the environment says it instead
        "use_cpu": not spread.gpus and spread.strategy == "none",
    }
    if launch.main_process_ip:
        document["main_process_ip"] = launch.main_process_ip
    if spread.strategy != "fsdp":
        document.pop("fsdp_config")
    return document


def launch_arguments(folder: Path, worker: str = WORKER) -> list[str]:
    """What follows `accelerate launch` for the run, or another worker's job, in `folder`."""
    return ["--config_file", str(folder / "accelerate.yaml"), "-m", worker, str(folder / "config.yaml")]


def write_launch(folder: Path, config: TrainConfig) -> Plan:
    """Write OUT/accelerate.yaml and set the environment that goes with it."""
    spread = plan(config)
    write_accelerate(folder, accelerate_config(config, spread))
    share_machine(gpus=spread.gpus, processes=max(1, spread.processes // config.launch.num_machines))
    os.environ["EMBEDCTL_STRATEGY"] = f"{spread.strategy}: {spread.reason}"
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")  # a checkpoint may still be on its way to the disk
    return spread


def write_accelerate(folder: Path, document: dict[str, Any]) -> None:
    """Write what accelerate reads."""
    (folder / "accelerate.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def share_machine(*, gpus: bool, processes: int) -> None:
    """Tell the workers of this machine by their environment whether they run on GPUs, and which cores are theirs."""
    os.environ["ACCELERATE_USE_CPU"] = str(not gpus).lower()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    if not gpus:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin starve each other on a busy machine


def command_line(folder: Path, config: TrainConfig) -> str:
    """The equivalent accelerate command, for `--dry-run`."""
    write_launch(folder, config)
    kept = ("ACCELERATE_USE_CPU",)
    environment = " ".join(f"{name}={os.environ[name]}" for name in kept)
    return f"{environment} accelerate launch {' '.join(launch_arguments(folder))}"


def exec_shim(folder: Path) -> None:
    """Replace this process by the shim; does not return."""
    os.execv(sys.executable, [sys.executable, "-m", "embedctl.distributed.launch", str(folder)])


@dataclass(frozen=True)
class Failure:
    """How a run ended: an exit code, one message and the next action."""

    code: int
    message: str = ""
    hint: str = ""


def run_launcher(start: Callable[[], None]) -> Failure:
    """Run accelerate's launcher and name what it raises."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for number in (signal.SIGINT, signal.SIGTERM):  # several processes have torch's agent, which takes these over
        signal.signal(number, _forward)
    try:
        start()
    except SignalException as stop:
        return Failure(SIGNAL_EXIT + int(stop.sigval), f"stopped by {stop.sigval.name}")
    except KeyboardInterrupt:
        return Failure(EXIT_INTERRUPTED, "interrupted")
    except subprocess.CalledProcessError as child:
        return _ended(child.returncode, "the worker")
    except ChildFailedError as failed:
        children = sorted(failed.failures.items(), key=lambda item: int(item[1].timestamp))
        crashed = [item for item in children if item[1].exitcode not in (-15, 143)] or children
        return _ended(crashed[0][1].exitcode, f"the worker of rank {crashed[0][0]}")
    return Failure(0)


def _forward(number: int, _frame: FrameType | None) -> None:
    """A single worker is told to stop, and its end is waited for: it saves its state first. Before it is there, end."""
    import psutil

    workers = psutil.Process().children()
    if not workers:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    for worker in workers:
        worker.send_signal(number)


def _ended(code: int, who: str) -> Failure:
    if -code in (signal.SIGINT, signal.SIGTERM):
        return Failure(SIGNAL_EXIT - code, "stopped outside the steps; no new state is saved")
    if code < 0:
        hint = "the machine may have run out of memory; a smaller --tokens-per-forward needs less" if code == -9 else ""
        return Failure(SIGNAL_EXIT - code, f"{who} was killed by signal {-code}", hint)
    return Failure(code, f"{who} exited with code {code}")


def reported(folder: Path, ended: Failure) -> Failure:
    """What the ranks wrote about a failure, the earliest of them, in place of what the launcher saw of it."""
    reports = [json.loads(path.read_text()) for path in folder.glob("error.rank*.json")]
    if ended.code == 0 or not reports:
        return ended
    first = min(reports, key=lambda report: report["time"])
    hint = first["hint"]
    if first["code"] == EXIT_BUG:
        hint = f"this is a bug; its traceback: {folder / first['traceback']}"
    return Failure(first["code"], first["message"], hint)


def forget_failures(folder: Path) -> None:
    """Remove what an earlier run wrote about its failures."""
    for path in [*folder.glob("error.rank*.json"), *folder.glob("traceback.rank*.txt")]:
        path.unlink()


def main(folder: Path) -> int:
    """The shim: run the workers of the run in `folder` and say how they ended.

    Returns:
        The exit code: 0, 2 for a user's error, 130 and 143 for a stop, 128 + signal for a crash, 70 for a bug.
    """
    config = load(TrainConfig, str(folder / "config.yaml"))
    console.configure(quiet=config.quiet)
    forget_failures(folder)
    write_launch(folder, config)
    return supervise(folder, launch_arguments(folder))


def supervise(folder: Path, arguments: list[str], after_stop: str = "") -> int:
    """Run accelerate's launcher with these arguments, say how its workers ended, and give the exit code.

    Args:
        folder: where the workers leave word of their failures.
        arguments: what follows `accelerate launch`.
        after_stop: what to do after a stop by a signal, for workers that have no words of their own for it.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser

    os.environ[LAUNCHER] = str(os.getpid())
    parsed = launch_command_parser().parse_args(arguments)
    _hush_launcher()
    ended = reported(folder, run_launcher(lambda: launch_command(parsed)))
    if after_stop and ended.code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        ended = Failure(ended.code, "interrupted", after_stop)
    if ended.code:
        console.error(ended.message, ended.hint)
    return ended.code


def _hush_launcher() -> None:
    """The launcher's own account of a failure is forty lines long; ours is one."""
    import torch.distributed.run  # noqa: F401  its loggers exist once it is imported

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)  # the launcher leaves threads behind that would hold the exit back

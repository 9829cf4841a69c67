"""Starting the processes of `encode --num-processes`: which worker runs, on which devices."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NoReturn

from embedctl.config import EncodeConfig, dump
from embedctl.distributed.launch import LaunchJob, exec_supervisor
from embedctl.files import write_whole


def launch_job(config: EncodeConfig, folder: Path) -> LaunchJob:
    """The processes that share the work; `folder` holds the configuration while they run."""
    return LaunchJob(
        worker="embedctl.encoding.worker",
        folder=str(folder),
        processes=config.num_processes,
        device=config.device,
        cpu_flag="--device cpu",
        strategy="ddp",
        quiet=config.quiet,
        after_stop=config.after_interrupt,
        temporary=True,
    )


def become_launcher(config: EncodeConfig) -> NoReturn:
    """Replace this process by the one that starts and supervises the workers."""
    folder = Path(tempfile.mkdtemp(prefix="embedctl-encode-"))
    write_whole(folder / "config.yaml", dump(config))
    exec_supervisor(launch_job(config, folder))

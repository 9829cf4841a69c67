"""Starting the ranks of `encode --num-processes`: a shim that runs accelerate's launcher and reads its failures.

`embedctl encode` replaces itself by `python -m embedctl.encoding.launch FOLDER`, a temporary folder with the job's
configuration; the ranks run embedctl.encoding.worker.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below take their seconds: end without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from embedctl import console
from embedctl.config import EncodeConfig, TrainConfig, dump, load
from embedctl.distributed.launch import (
    Plan,
    accelerate_config,
    launch_arguments,
    share_machine,
    supervise,
    write_accelerate,
)
from embedctl.errors import EXIT_BUG, ConfigError, EmbedctlError

WORKER = "embedctl.encoding.worker"


def on_gpus(config: EncodeConfig) -> bool:
    """Whether the ranks run on GPUs, one each.

    Raises:
        ConfigError: there are fewer GPUs than ranks, or one was named for all of them.
    """
    import torch

    if config.device == "cpu" or not torch.cuda.is_available():
        return False
    count, ranks = torch.cuda.device_count(), config.num_processes
    if config.device not in (None, "cuda"):
        raise ConfigError(f"--device {config.device}: is one device, for {ranks} processes", "leave --device out")
    if ranks > count:
        raise ConfigError(
            f"--num-processes {ranks}: this machine shows {count} GPUs", f"--num-processes {count}, or --device cpu"
        )
    return True


def exec_shim(config: EncodeConfig) -> None:
    """Replace this process by the shim; does not return."""
    folder = Path(tempfile.mkdtemp(prefix="embedctl-encode-"))
    (folder / "config.yaml").write_text(dump(config), encoding="utf-8")
    os.execv(sys.executable, [sys.executable, "-m", "embedctl.encoding.launch", str(folder)])


def prepare(folder: Path, config: EncodeConfig) -> None:
    """Write what accelerate is given, and set the environment that goes with it.

    Raises:
        ConfigError: there are too few GPUs.
    """
    gpus = on_gpus(config)
    write_accelerate(folder, accelerate_config(TrainConfig(), Plan(config.num_processes, gpus, "ddp", "")))
    share_machine(gpus=gpus, processes=config.num_processes)


def main(folder: Path) -> int:
    """Run the ranks of the job in `folder`, say how they ended, and remove the folder unless it holds a traceback.

    Returns:
        The exit code, as for `train`.
    """
    config = load(EncodeConfig, str(folder / "config.yaml"))
    console.configure(quiet=config.quiet)
    try:
        prepare(folder, config)
        code = supervise(folder, launch_arguments(folder, WORKER), config.after_interrupt)
    except EmbedctlError as mistake:
        console.error(mistake.message, mistake.hint)
        code = mistake.exit_code
    if code != EXIT_BUG:
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)  # the launcher leaves threads behind that would hold the exit back

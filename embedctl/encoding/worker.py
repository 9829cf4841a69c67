"""Worker process of `encode --num-processes`, started as `python -m embedctl.encoding.worker FOLDER/config.yaml`."""

from __future__ import annotations

import signal
from pathlib import Path

if __name__ == "__main__":  # the imports below take seconds, and Ctrl-C during them must not print a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from embedctl import console
from embedctl.config import EncodeConfig, load
from embedctl.distributed.ranks import init_distributed, is_main, world_size
from embedctl.distributed.worker import config_file_argument, run_worker
from embedctl.encoding.job import EncodeJob
from embedctl.encoding.run import encode, print_summary
from embedctl.errors import ConfigError

WORKER_HINT = "run `embedctl encode --num-processes N`, which writes such a file and starts the workers"


def run(config: EncodeConfig) -> None:
    """Encode the shards of this process; only rank 0 prints messages and the result."""
    import torch

    device = init_distributed(cpu=config.device == "cpu" or not torch.cuda.is_available())
    if world_size() != config.num_processes:
        message = f"accelerate reports {world_size()} processes, but {config.num_processes} were started"
        raise ConfigError(message, "use --num-processes 1, or run `pip install -U accelerate`")
    console.configure(quiet=config.quiet or not is_main())
    job = EncodeJob.from_config(config, device)
    result = encode(job)
    if is_main():
        print_summary(job, result, as_json=config.json_output)


if __name__ == "__main__":
    config_file = config_file_argument("embedctl.encoding.worker", WORKER_HINT)
    run_worker(Path(config_file).parent, lambda: run(load(EncodeConfig, config_file)))

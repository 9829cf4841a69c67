"""One rank of `encode --num-processes`: `python -m embedctl.encoding.worker FOLDER/config.yaml`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below take their seconds: end without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from embedctl import console
from embedctl.config import EncodeConfig, load
from embedctl.distributed.ranks import init_distributed, is_main, world_size
from embedctl.distributed.worker import run_worker
from embedctl.encoding.job import EncodeJob
from embedctl.encoding.run import encode, report
from embedctl.errors import ConfigError


def run(config: EncodeConfig) -> None:
    """Encode this rank's shards; the first rank speaks for all.

    Raises:
        EmbedctlError: a user's mistake.
    """
    import torch

    device = init_distributed(cpu=config.device == "cpu" or not torch.cuda.is_available())
    if world_size() != config.num_processes:
        raise ConfigError(f"accelerate sees {world_size()} processes where {config.num_processes} were started")
    console.configure(quiet=config.quiet or not is_main())
    job = EncodeJob.of(config, device)
    result = encode(job)
    if is_main():
        report(job, result, as_json=config.json_output)


if __name__ == "__main__":
    run_worker(Path(sys.argv[1]).parent, lambda: run(load(EncodeConfig, sys.argv[1])))

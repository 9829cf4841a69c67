"""Measure the peak memory of a training step for growing batch sizes and a constant number of tokens per forward pass.

Usage: python tests/bench/bench_memory.py [--model FOLDER] [--tokens 16384] [--sizes 16,64,256,1024,4096]

On a GPU, the result is the peak GPU memory per batch size. On a CPU, it is the peak resident memory of the process
since its start, and a single process uses at most 2,048 tokens per forward pass. The rows consist of random words.
Without --model, the built-in model is used.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from embedctl.config import TINY, TrainConfig, load
from embedctl.losses.select import losses_for
from embedctl.training import worker
from embedctl.training.batch_loader import BatchLoader, Schedule
from embedctl.training.gradcache import GradCache
from embedctl.training.job import TrainJob
from embedctl.training.runtime import init_runtime
from embedctl.training.session import Session

CUDA = torch.cuda.is_available()
WORDS_PER_TEXT = 60


def write_rows(path: Path, rows: int) -> None:
    """Write rows with a query, a positive and a negative; all texts are different."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            query, positive, negative = (" ".join(draw.choices(words, k=WORDS_PER_TEXT)) for _ in range(3))
            file.write(json.dumps({"query": query, "pos": [positive], "neg": [negative]}) + "\n")


def peak_memory() -> float:
    """Return the peak memory in MiB: of the GPU since the last reset, or of this process since its start."""
    if CUDA:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the peak memory per batch size, in ascending order of the size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=TINY)
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--sizes", default="16,64,256,1024,4096")
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    folder = Path(tempfile.mkdtemp())
    write_rows(folder / "rows.jsonl", 2 * sizes[-1])
    flags = {
        "model_name_or_path": options.model,
        "dataset": [str(folder / "rows.jsonl")],
        "neg_nums": 1,
        "tokens_per_forward": options.tokens,
    }
    job = TrainJob.from_config(load(TrainConfig, None, flags))
    runtime = init_runtime(job)
    embedder = worker.load_model(job)
    data = worker.open_or_build(
        job.data.dataset, embedder.tokenizer, worker.text_settings_of(job, embedder), folder / "store"
    )
    session = Session.prepare(embedder, runtime, job)
    add_gradient = GradCache(session, losses_for(job.loss), 0)
    for size in sizes:
        plan = worker.plan_batches(job, data, size)
        loader = BatchLoader(session, plan, data.texts, job.loss.in_batch)
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        tokens = 0
        for step, (prepared,) in loader.steps(Schedule(plan.batches_per_epoch, 1, 1, 2), 0):
            add_gradient(prepared, step)
            session.optimizer_step(1.0)
            tokens = prepared.tokens
        print(f"batch size {size}: {tokens:,} tokens per step, peak memory {peak_memory():,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()

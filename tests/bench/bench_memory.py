"""Peak memory of a training step while the batch grows, the tokens of a forward staying as they are.

By hand: python tests/bench/bench_memory.py [--model FOLDER] [--tokens 16384] [--sizes 16,64,256,1024,4096]
On a GPU the peak of its memory; on a CPU that of the whole process so far, and of at most 2,048 tokens a forward where
there is one process. Rows are made of words. Without --model the tiny one is used.
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
from embedctl.training import runtime, worker
from embedctl.training.feeder import Feeder, Schedule
from embedctl.training.job import TrainJob
from embedctl.training.session import Session
from embedctl.training.step import Stepper

CUDA = torch.cuda.is_available()
WORDS = 60  # of a text


def write_rows(path: Path, rows: int) -> None:
    """Rows of a query, a positive and a negative, no two of the same text."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            query, positive, negative = (" ".join(draw.choices(words, k=WORDS)) for _ in range(3))
            file.write(json.dumps({"query": query, "pos": [positive], "neg": [negative]}) + "\n")


def peak() -> float:
    """MiB of the GPU since the last reset, or of this process since its start."""
    if CUDA:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the peak for each size of batch, smallest first."""
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
    job = TrainJob.of(load(TrainConfig, None, flags))
    here = runtime.join(job)
    embedder = worker.load_model(job)
    data = worker.open_or_build(job.data.dataset, embedder.tokenizer, worker.recipe_of(job, embedder), folder / "store")
    session = Session.prepare(embedder, here, job)
    stepper = Stepper(session, losses_for(job.loss), 0)
    for size in sizes:
        plan = worker.plan_batches(job, data, size)
        feeder = Feeder(session, plan, data.texts, job.loss.in_batch)
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        tokens = 0
        for update, (prepared,) in feeder.updates(Schedule(plan.steps_per_epoch, 1, 1, 2), 0):
            stepper(prepared, update)
            session.update(1.0)
            tokens = prepared.tokens
        print(f"batch {size}: {tokens:,} tokens a step, peak {peak():,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()

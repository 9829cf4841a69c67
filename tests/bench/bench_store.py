"""Measure time and peak memory of the token store of `train`: building it, and reading one epoch of batches from it.

Usage: python tests/bench/bench_store.py [GB ...] [--folder FOLDER]

For each size, the script writes a file of rows of about 200 bytes to a temporary folder in FOLDER, where about six
times the size of the file must be free. Each phase runs in a separate process. The memory of this process and of its
child processes is measured every 200 ms: `private` memory is freed only by the process itself, `mapped` memory
consists of pages of the memory-mapped files of the store, which the kernel can free at any time."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import psutil
import torch

from embedctl.data.batches import BatchPlan
from embedctl.data.build import open_or_build
from embedctl.data.visits import BatchSettings
from embedctl.model.loading import load_tokenizer
from embedctl.model.tiny import build_tiny
from embedctl.resources import example_data
from embedctl.tokens.text_settings import TextSettings

BATCH, INTERVAL_SECONDS = 1024, 0.2
PHASES = ("import", "build", "epoch")
WORDS = example_data("texts.txt").read_text(encoding="utf-8").lower().split()


@dataclass
class PeakMemory:
    """Peak memory, in bytes, of a process together with its child processes."""

    private: int = 0
    mapped: int = 0

    def update(self, process: psutil.Process) -> None:
        """Measure the current memory and keep the maximum."""
        private = mapped = 0
        try:
            for each in (process, *process.children(recursive=True)):
                memory = each.memory_info()
                private, mapped = private + memory.rss - memory.shared, mapped + memory.shared
        except psutil.NoSuchProcess:
            return
        self.private, self.mapped = max(self.private, private), max(self.mapped, mapped)

    def __str__(self) -> str:
        return f"private {self.private / 2**20:5,.0f} MiB, mapped {self.mapped / 2**20:5,.0f} MiB"


def write_rows(path: Path, size: float) -> int:
    """Write rows until the file has `size` bytes, and return their number.

    Every tenth query is a duplicate, and every second row has a negative.
    """
    draw = random.Random(0)
    stems = [" ".join(draw.choices(WORDS, k=20))[:52] for _ in range(5000)]
    rows = 0
    with path.open("w", encoding="utf-8") as stream:
        while stream.tell() < size:
            for number in range(rows, rows + 10_000):
                query = number // 2 if number % 10 == 0 else number
                row = {"query": f"{stems[query % 4999][:25]} {query}", "pos": [f"{stems[number % 4993]} {number}"]}
                if number % 2:
                    row["neg"] = [f"{stems[number // 2 % 4993]} {number // 2}"]
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += 10_000
    return rows


def run_phase(folder: Path, phase: str) -> str:
    """Run a phase in this process and return a description of its result.

    Args:
        folder: contains rows.jsonl and the model.
        phase: `import` does nothing after the imports, `build` builds the store, `epoch` opens it and reads one epoch.
    """
    if phase == "import":
        return "imports only"
    settings = TextSettings(query_max_len=64, passage_max_len=256)
    data = open_or_build(
        [str(folder / "rows.jsonl")], load_tokenizer(str(folder / "model")), settings, folder / "stores"
    )
    if phase == "build":
        return f"{data.facts['rows']:,} rows, {data.facts['texts']:,} texts, {data.facts['tokens']:,} tokens"
    plan = BatchPlan(data.rows, BatchSettings(BATCH, neg_nums=1, seed=0))
    tokens, start_time = 0, time.perf_counter()
    for step in range(plan.batches_per_epoch):
        tokens += len(data.texts.tokens_of(plan.batch(0, step).texts).ids)
    seconds = (time.perf_counter() - start_time) / plan.batches_per_epoch
    assert tokens > 0
    return f"{plan.batches_per_epoch:,} batches of {BATCH}, {1000 * seconds:.1f} ms per batch"


def measure_phase(folder: Path, phase: str) -> None:
    """Run a phase in a separate process and print its time and peak memory."""
    start_time, peak = time.perf_counter(), PeakMemory()
    with subprocess.Popen(
        [sys.executable, __file__, "--phase", phase, "--folder", str(folder)], stdout=subprocess.PIPE, text=True
    ) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            peak.update(process)
            time.sleep(INTERVAL_SECONDS)
        assert child.stdout is not None
        output = child.stdout.read().strip()
    assert child.returncode == 0, output
    print(f"  {phase:8} {time.perf_counter() - start_time:6,.0f} s, {peak}: {output}", flush=True)


def main() -> None:
    """Print one line per phase for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("gigabytes", type=float, nargs="*", default=[0.2, 2])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        print(run_phase(options.folder, options.phase))
        return
    for size in options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            build_tiny([" ".join(WORDS)] * 2, seed=0).save_pretrained(str(folder / "model"), create_model_card=False)
            rows = write_rows(folder / "rows.jsonl", size * 1e9)
            print(f"{size} GB, {rows:,} rows, {os.cpu_count()} cores, torch {torch.__version__}", flush=True)
            for phase in PHASES:
                measure_phase(folder, phase)


if __name__ == "__main__":
    main()

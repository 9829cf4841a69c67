"""Time and peak memory of the token store of `train`: built, opened again, and run over for an epoch.

Run by hand: python tests/bench/bench_store.py [GB ...]. A file of rows of about 200 bytes is written for each size
into a folder that is removed afterwards (--folder says where; about six times the file is needed). Building and
running over are processes of their own, looked at every 200 ms together with their children: `own` is memory that only
giving up could free, `mapped` are pages of the store's files, which the kernel takes back whenever it needs them.
"""

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
from embedctl.data.build import TextSettings, open_or_build
from embedctl.data.visits import BatchSettings
from embedctl.model.loading import load_tokenizer
from embedctl.model.tiny import build_tiny
from embedctl.resources import example_data

BATCH, EVERY = 1024, 0.2
WORDS = example_data("texts.txt").read_text(encoding="utf-8").lower().split()


@dataclass
class Peak:
    """The most memory, in bytes, that a process and its children had at a time."""

    own: int = 0
    mapped: int = 0

    def look(self, process: psutil.Process) -> None:
        """Take note of the memory of this moment."""
        own = mapped = 0
        try:
            for one in (process, *process.children(recursive=True)):
                memory = one.memory_info()
                own, mapped = own + memory.rss - memory.shared, mapped + memory.shared
        except psutil.NoSuchProcess:
            return
        self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)

    def __str__(self) -> str:
        return f"own {self.own / 2**20:5,.0f} MiB, mapped {self.mapped / 2**20:5,.0f} MiB"


def write_rows(path: Path, size: float) -> int:
    """Write rows to a file of `size` bytes: every tenth query occurred before, every second row has a negative."""
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


def store(folder: Path, *, visit: bool) -> str:
    """Open the store of the folder's rows, run over its batches if wanted, and say what was there."""
    settings = TextSettings(query_max_len=64, passage_max_len=256)
    data = open_or_build(
        [str(folder / "rows.jsonl")], load_tokenizer(str(folder / "model")), settings, folder / "stores"
    )
    if not visit:
        return f"{data.facts['rows']:,} rows, {data.facts['texts']:,} texts, {data.facts['tokens']:,} tokens"
    plan = BatchPlan(data.rows, BatchSettings(BATCH, neg_nums=1, seed=0))
    tokens, begun = 0, time.perf_counter()
    for step in range(plan.batches_per_epoch):
        tokens += len(data.texts.tokens_of(plan.batch(0, step).texts).ids)
    seconds = (time.perf_counter() - begun) / plan.batches_per_epoch
    assert tokens > 0
    return f"{plan.batches_per_epoch:,} batches of {BATCH}, {1000 * seconds:.1f} ms each"


def watched(folder: Path, phase: str) -> None:
    """Run a phase in a process of its own and print its time and its memory."""
    begun, peak = time.perf_counter(), Peak()
    with subprocess.Popen(
        [sys.executable, __file__, "--phase", phase, "--folder", str(folder)], stdout=subprocess.PIPE, text=True
    ) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            peak.look(process)
            time.sleep(EVERY)
        assert child.stdout is not None
        said = child.stdout.read().strip()
    assert child.returncode == 0, said
    print(f"  {phase:8} {time.perf_counter() - begun:6,.0f} s, {peak}: {said}", flush=True)


def main() -> None:
    """Print three lines for each size: importing alone, building, and opening with an epoch of batches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("gigabytes", type=float, nargs="*", default=[0.2, 2])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--phase", choices=["nothing", "build", "visit"])
    options = parser.parse_args()
    if options.phase:
        print("imports alone" if options.phase == "nothing" else store(options.folder, visit=options.phase == "visit"))
        return
    for size in options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            build_tiny([" ".join(WORDS)] * 2, seed=0).save_pretrained(str(folder / "model"), create_model_card=False)
            rows = write_rows(folder / "rows.jsonl", size * 1e9)
            print(f"{size} GB, {rows:,} rows, {os.cpu_count()} cores, torch {torch.__version__}", flush=True)
            for phase in ("nothing", "build", "visit"):
                watched(folder, phase)


if __name__ == "__main__":
    main()

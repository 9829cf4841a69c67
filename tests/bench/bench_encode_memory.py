"""Measure the peak memory of `embedctl encode` for millions of short texts and a folder of shards.

Usage: python tests/bench/bench_encode_memory.py [--texts 5000000] [--layers 1] [--hidden 32]

The model is the built-in model with random weights, reduced to these sizes so that the run takes minutes; the memory
does not depend on the width of the model. The script prints the peak resident memory of the encoding process, its
speed, and the number of texts and shards.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from embedctl.console import plural
from embedctl.model import tiny
from embedctl.resources import example_data

WORDS = example_data("texts.txt").read_text(encoding="utf-8").lower().split()


def write_texts(path: Path, count: int) -> None:
    """Write `count` different lines of 20 to 40 characters."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            stream.write(f"{' '.join(draw.choices(WORDS, k=6))[:30]} {number}\n")


def build_model(folder: Path, layers: int, hidden: int) -> None:
    """Save the built-in model with another number of layers and another width."""
    tiny.LAYERS, tiny.HIDDEN, tiny.INTERMEDIATE = layers, hidden, 4 * hidden
    texts = [" ".join(WORDS)] * 2
    tiny.build_tiny(texts, seed=0).save_pretrained(str(folder), create_model_card=False)


def main() -> None:
    """Write the texts and the model, encode the texts in a separate process, and print its peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=5_000_000)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder / "texts.txt", options.texts)
        build_model(folder / "model", options.layers, options.hidden)
        command = ["encode", "--ckpt", folder / "model", "-i", folder / "texts.txt", "-o", f"{folder}/vectors/"]
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "embedctl", *map(str, command), "--device", "cpu"], check=True)
        seconds = time.monotonic() - begun
        manifest = json.loads((folder / "vectors/manifest.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"{manifest['rows']:,} texts in {plural(len(manifest['shards']), 'shard')}, "
        f"model of {plural(options.layers, 'layer')} with width {options.hidden}: "
        f"peak resident memory {peak:.2f} GiB, {seconds:.0f} s, {manifest['rows'] / seconds:,.0f} texts/s"
    )


if __name__ == "__main__":
    main()

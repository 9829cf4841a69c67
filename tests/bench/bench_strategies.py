"""Training speed of DDP and FSDP2 on the GPUs of one machine, for models of MiniLM's and BERT-base's shape.

Usage: python tests/bench/bench_strategies.py ROWS.jsonl [--rounds 2] [--steps 60] [--processes 2]

Each round trains with each strategy in turn, with the command line. The rate is that of the steps after --warmup.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from bench_train import bert_base, read_rows
from transformers import BertConfig, BertModel

MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
STRATEGIES = ("ddp", "fsdp")


def build_models(rows: list[dict[str, object]], folder: Path) -> dict[str, str]:
    """Save a model of each shape, with random weights, and return the folders by name."""
    bert = bert_base(rows, str(folder / "bert-base"))
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=21128, **MINILM)).save_pretrained(folder / "minilm")
    AutoTokenizer.from_pretrained(bert).save_pretrained(folder / "minilm")
    return {"MiniLM": str(folder / "minilm"), "BERT-base": bert}


def rows_per_second(arguments: argparse.Namespace, model: str, strategy: str, folder: Path) -> float:
    """Train, and return the rows per second of the steps after the warm-up."""
    command = [sys.executable, "-m", "embedctl", "train", "--model", model, "--dataset", arguments.data, "--quiet"]
    command += [
        "--num-processes",
        str(arguments.processes),
        "--strategy",
        strategy,
        "--max-steps",
        str(arguments.steps),
    ]
    command += ["--batch-size", str(arguments.batch_size), "--neg-nums", "7", "--in-batch", "hard", "-o", str(folder)]
    command += ["--overwrite"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = {line["step"]: line["rows_per_s"] for line in lines if "rows_per_s" in line}
    first, last = arguments.warmup, max(steps)
    rows_per_step = arguments.batch_size * arguments.processes
    seconds = {step: step * rows_per_step / steps[step] for step in (first, last)}  # since the start of the training
    return (last - first) * rows_per_step / (seconds[last] - seconds[first])


def main() -> None:
    """Print the rates and the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    for name, default in {"rounds": 2, "steps": 60, "warmup": 20, "processes": 2, "batch-size": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = build_models(read_rows(arguments.data), Path(folder))
        for number in range(arguments.rounds):
            for name, model in models.items():
                ddp, fsdp = (rows_per_second(arguments, model, each, Path(folder, "out")) for each in STRATEGIES)
                rates = f"ddp {ddp:,.0f} rows/s, fsdp {fsdp:,.0f} rows/s"
                print(f"round {number + 1}: {name}: {rates}, fsdp/ddp {fsdp / ddp:.3f}", flush=True)


if __name__ == "__main__":
    main()

"""Training speed of DDP and FSDP2 on the GPUs of one machine, for models of several shapes.

Usage: python tests/bench/bench_strategies.py ROWS.jsonl [--models MiniLM,BERT-base] [--processes 2] [--rounds 3]

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
from transformers import AutoModel, AutoTokenizer, BertConfig, PretrainedConfig, Qwen3Config

STRATEGIES = ("ddp", "fsdp")
CONFIGS: dict[str, PretrainedConfig] = {
    "MiniLM": BertConfig(
        vocab_size=21128, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    ),
    "BERT-base": BertConfig(vocab_size=21128),
    "BERT-large": BertConfig(
        vocab_size=21128, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
    "Qwen3-0.6B": Qwen3Config(
        vocab_size=151936,
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3072,
        tie_word_embeddings=True,
    ),
}


def build_models(rows: list[dict[str, object]], names: list[str], folder: Path) -> dict[str, str]:
    """Save a model of each shape, with random weights and the same tokenizer, and return the folders by name."""
    tokenizer = AutoTokenizer.from_pretrained(bert_base(rows, str(folder / "tokenizer")))
    torch.manual_seed(0)
    for name in names:
        AutoModel.from_config(CONFIGS[name]).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in names}


def rows_per_second(arguments: argparse.Namespace, model: str, strategy: str, folder: Path) -> float:
    """Train, and return the rows per second of the steps after the warm-up."""
    values = {
        "--model": model,
        "--dataset": arguments.data,
        "--num-processes": arguments.processes,
        "--strategy": strategy,
        "--max-steps": arguments.steps,
        "--save-steps": arguments.steps,  # else a checkpoint per epoch, which is a few steps of a small file
        "--batch-size": arguments.batch_size,
        "--neg-nums": 7,
        "--in-batch": "hard",
        "-o": folder,
    }
    command = [sys.executable, "-m", "embedctl", "train", "--quiet", "--overwrite"]
    command += [str(part) for option in values.items() for part in option]
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
    for name, default in {"rounds": 3, "steps": 150, "warmup": 50, "processes": 2, "batch-size": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--models", default="MiniLM,BERT-base", help=f"names, separated by commas: {', '.join(CONFIGS)}"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = build_models(read_rows(arguments.data), arguments.models.split(","), Path(folder))
        for number in range(arguments.rounds):
            for name, model in models.items():
                ddp, fsdp = (rows_per_second(arguments, model, each, Path(folder, "out")) for each in STRATEGIES)
                rates = f"ddp {ddp:,.0f} rows/s, fsdp {fsdp:,.0f} rows/s"
                print(f"round {number + 1}: {name}: {rates}, fsdp/ddp {fsdp / ddp:.3f}", flush=True)


if __name__ == "__main__":
    main()

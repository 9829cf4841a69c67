"""The command that `train --dry-run` prints gives the bytes of `train`; so does a file of accelerate."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

FSDP_FILE = """\
distributed_type: FSDP
fsdp_config:
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_sharding_strategy: SHARD_GRAD_OP
  fsdp_transformer_layer_cls_to_wrap: BertLayer
mixed_precision: 'no'
num_processes: 2
use_cpu: true
"""
SAME_FLAGS = ["--strategy", "fsdp", "--no-fsdp-reshard", "--fsdp-layers", "BertLayer", "--mixed-precision", "no"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with rows and a small model, whose names contain spaces and quotes."""
    folder = tmp_path_factory.mktemp("runs") / "it's a folder"
    folder.mkdir()
    texts = [f"tea {number} water leaf cup {number * 7}" for number in range(40)]
    rows = [{"query": texts[i], "pos": [texts[i + 1]], "neg": texts[i + 2 : i + 4]} for i in range(0, 32, 2)]
    (folder / 'the "rows".jsonl').write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs.save_small_model(texts, folder / "small model")
    return folder


def train(folder: Path, *options: object) -> str:
    """Run `train` for two steps in the folder, and return its output."""
    common = ["--model", "small model", "--dataset", 'the "rows".jsonl', "--batch-size", 4, "--max-steps", 2]
    ended = runs.embedctl("train", *common, "--neg-nums", 2, *options, cache=folder / "cache", folder=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def run_printed(folder: Path, command: str) -> None:
    """Run a printed command in a shell."""
    environment = runs.environment(folder / "cache")
    del environment["OMP_NUM_THREADS"]
    ended = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr


def test_the_printed_command_of_one_process_gives_the_same_bytes(folder):
    train(folder, "--cpu", "-o", "trained")
    run_printed(folder, train(folder, "--cpu", "--dry-run", "-o", "it's printed & more"))
    assert runs.weights(folder / "it's printed & more") == runs.weights(folder / "trained")


def test_a_file_of_accelerate_gives_the_same_bytes_as_the_options_in_a_printed_command(folder):
    (folder / "fsdp.yaml").write_text(FSDP_FILE)
    train(folder, "--config_file", "fsdp.yaml", "-o", "from file")
    run_printed(folder, train(folder, *SAME_FLAGS, "--num-processes", 2, "--cpu", "--dry-run", "-o", "from options"))
    assert runs.weights(folder / "from file") == runs.weights(folder / "from options")
    one, other = ((folder / name / "accelerate.yaml").read_text() for name in ("from file", "from options"))
    assert one == other
    assert "fsdp_transformer_layer_cls_to_wrap: BertLayer" in one
    assert "fsdp_reshard_after_forward: false" in one

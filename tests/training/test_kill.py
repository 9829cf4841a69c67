"""A run that is killed at a random time and resumed gives the same weights as an uninterrupted run.

Each number of processes is tested with two kills, or with EMBEDCTL_KILLS.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

KILLS = int(os.environ.get("EMBEDCTL_KILLS", "2"))
EPOCHS = 5  # of 6 steps


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    draw = random.Random(0)
    words = ["tea", "water", "leaf", "cup", "kettle", "steam", "garden", "bee", "hive", "honey", "wing", "flower"]
    rows = [
        {
            "query": " ".join(draw.choices(words, k=3)),
            "pos": [" ".join(draw.choices(words, k=20))],
            "neg": [" ".join(draw.choices(words, k=20))] * 2,
        }
        for _ in range(48)
    ]
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs.save_small_model(words, folder / "model")
    return folder


def arguments(data: Path, out: Path, processes: int) -> list[object]:
    return [
        "train", "--model", data / "model", "--dataset", data / "train.jsonl", "--neg-nums", 2, "--lr", "5e-4",
        "--epochs", EPOCHS, "--batch-size", 8 // processes, "--num-processes", processes, "--save-steps", 4, "-o", out,
    ]  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2])
def test_weights_after_kills_equal_those_of_an_uninterrupted_run(processes, data, cache, tmp_path):
    """If a run finishes before its kill, its weights are compared, and the next kill is in a new run."""
    uninterrupted, out = tmp_path / "uninterrupted", tmp_path / "killed"
    started = time.monotonic()
    run = start(arguments(data, uninterrupted, processes), cache)
    wait_for_checkpoint(uninterrupted, run)
    first_checkpoint = time.monotonic()
    _, messages = run.communicate(timeout=300)
    assert run.returncode == 0, messages
    loading, training = first_checkpoint - started, time.monotonic() - first_checkpoint
    draw = random.Random(processes)
    kills = resumed = 0
    while kills < KILLS or (not resumed and kills < KILLS + 8):  # a fast run may finish before its kill
        new = not (out / "config.yaml").exists()  # it is killed after its first checkpoint, a resumed run at any time
        seconds = draw.uniform(0.0, 0.8 * training) if new else draw.uniform(0.5 * loading, loading + 0.8 * training)
        killed, messages = start_or_resume(arguments(data, out, processes), out, cache, seconds)
        kills, resumed = kills + killed, resumed + ("resumed from" in messages)
        assert "error" not in messages, messages
        if is_finished(out):
            assert runs.weights(out) == runs.weights(uninterrupted)
            shutil.rmtree(out)
    _, messages = start_or_resume(arguments(data, out, processes), out, cache, 300)
    resumed += "resumed from" in messages
    assert is_finished(out), messages
    print(f"{processes} processes: {kills} kills, {resumed} resumed runs")
    assert resumed
    assert runs.weights(out) == runs.weights(uninterrupted)


def is_finished(out: Path) -> bool:
    """Return whether the run has saved its model and removed its checkpoints."""
    return (out / "modules.json").exists() and not list((out / "states").glob("step-*"))


def start(arguments: list[object], cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        runs.command(*arguments), env=runs.environment(cache), stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_checkpoint(out: Path, run: subprocess.Popen[str]) -> None:
    """Wait until the run has written a checkpoint or has ended."""
    deadline = time.monotonic() + 200
    while not list((out / "states").glob("step-*")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def start_or_resume(new_run: list[object], out: Path, cache: Path, seconds: float) -> tuple[bool, str]:
    """Resume the run in `out`, or start it if there is none, and kill it after some seconds.

    For a new run, the seconds are counted from its first checkpoint.

    Returns:
        Whether it was killed, and its messages.
    """
    resume = (out / "config.yaml").exists()
    process = start(["train", "--resume", out] if resume else new_run, cache)
    if not resume:
        wait_for_checkpoint(out, process)
    try:
        _, messages = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, messages = process.communicate()
        return True, messages
    return False, messages


def test_damaged_checkpoint_is_skipped_with_a_warning(data, cache, tmp_path):
    out = tmp_path / "out"
    process = start(arguments(data, out, 1), cache)
    deadline = time.monotonic() + 120
    while len(list((out / "states").glob("step-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    newest, older = sorted((out / "states").glob("step-*"), reverse=True)[:2]
    tensors = next((newest / "tensors").glob("*.distcp"))
    tensors.write_bytes(tensors.read_bytes()[:-7] + b"damaged")
    ended = runs.embedctl("train", "--resume", out, cache=cache)
    assert ended.returncode == 0, ended.stderr
    assert "is damaged; this checkpoint is skipped" in ended.stderr.replace("\n", " ")
    assert f"resumed from {older}" in ended.stderr

"""A run killed at any moment and resumed ends with the same bytes as one that was left alone.

Two random moments for each number of processes here; EMBEDCTL_KILLS=20 for the long version.
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
def test_killed_at_random_moments(processes, data, cache, tmp_path):
    """A run that ends before its kill is compared, and the next kill meets a run from the start."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    begun = start(arguments(data, whole, processes), cache)
    wait_for_state(whole, begun)
    first = time.monotonic()
    _, said = begun.communicate(timeout=300)
    assert begun.returncode == 0, said
    loading, steps, draw = first - started, time.monotonic() - first, random.Random(processes)
    kills = resumed = 0
    while kills < KILLS or (not resumed and kills < KILLS + 8):  # a fast run may end before its kill
        fresh = not (out / "config.yaml").exists()  # it is killed after its first state, a resumed one at any moment
        seconds = draw.uniform(0.0, 0.8 * steps) if fresh else draw.uniform(0.5 * loading, loading + 0.8 * steps)
        killed, said = go_on(arguments(data, out, processes), out, cache, seconds)
        kills, resumed = kills + killed, resumed + ("resumed from" in said)
        assert "error" not in said, said
        if is_finished(out):
            assert runs.weights(out) == runs.weights(whole)
            shutil.rmtree(out)
    _, said = go_on(arguments(data, out, processes), out, cache, 300)
    resumed += "resumed from" in said
    assert is_finished(out), said
    print(f"{processes} processes: {kills} kills, {resumed} resumptions")
    assert resumed
    assert runs.weights(out) == runs.weights(whole)


def is_finished(out: Path) -> bool:
    """Whether nothing is left to resume."""
    return (out / "modules.json").exists() and not list((out / "states").glob("step-*"))


def start(arguments: list[object], cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        runs.command(*arguments), env=runs.environment(cache), stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_state(out: Path, run: subprocess.Popen[str]) -> None:
    """Until there is something to resume from, or the run has ended."""
    deadline = time.monotonic() + 200
    while not list((out / "states").glob("step-*")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def go_on(begin: list[object], out: Path, cache: Path, seconds: float) -> tuple[bool, str]:
    """Begin the run in `out` and kill it some seconds after its first state, or resume it and kill it at any moment.

    Returns:
        Whether it was killed, and what it said.
    """
    there = (out / "config.yaml").exists()
    process = start(["train", "--resume", out] if there else begin, cache)
    if not there:
        wait_for_state(out, process)
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, said = process.communicate()
        return True, said
    return False, said


def test_a_damaged_state_is_skipped_with_a_word(data, cache, tmp_path):
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
    assert "is damaged; it is skipped" in ended.stderr.replace("\n", " ")
    assert f"resumed from {older}" in ended.stderr

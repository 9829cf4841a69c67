"""Mining during training: order of mining and batches, negatives of each epoch, resumed runs and several ranks."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from embedctl.config import RemineSection
from embedctl.data.batches import BatchPlan
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, TextStore, TrainingData
from embedctl.data.visits import BatchSettings
from embedctl.mining.store_miner import StoreMiner
from embedctl.model.similarity import COSINE
from embedctl.training.batch_loader import BatchLoader, Schedule
from embedctl.training.remine import EpochMiner, negatives_file, remove_negatives_after
from tests.data.stores import row_store

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

WORDS = ["tea", "water", "leaf", "cup", "kettle", "steam", "garden", "bee", "hive", "honey", "wing", "flower"]
EPOCHS, STEPS_PER_EPOCH = 14, 3
EVENTS: list[tuple[str, int, int]] = []


@dataclass(frozen=True)
class RecordingLoader(BatchLoader):
    """Records the batches that are requested; a batch is the plan of its epoch."""

    def prepare(self, epoch: int, index: int) -> Any:
        EVENTS.append(("prepare", epoch, index))
        return self.plan


@pytest.mark.parametrize("start", [0, 5])
def test_batches_of_an_epoch_are_prepared_after_its_negatives(start):
    EVENTS.clear()

    def plan_of_epoch(epoch: int, step: int) -> str:
        EVENTS.append(("mine", epoch, step))
        return f"plan {epoch}"

    schedule = Schedule(batches_per_epoch=4, accumulation=1, epochs=3)
    for step, batches in RecordingLoader(None, "own", None, "all", plan_of_epoch).steps(schedule, start):
        assert batches == [f"plan {step // 4}"]
        EVENTS.append(("train", step // 4, step))
    mined = [(epoch, step) for event, epoch, step in EVENTS if event == "mine"]
    assert mined == ([(0, 0), (1, 4), (2, 8)] if start == 0 else [(1, 5), (2, 8)])
    for epoch, step in mined:
        index = EVENTS.index(("mine", epoch, step))
        assert all(other < epoch for _, other, _ in EVENTS[:index])
        assert all(other >= epoch for _, other, _ in EVENTS[index:])


def test_negatives_mined_after_the_checkpoint_are_removed(tmp_path):
    for epoch in (1, 2, 3):
        negatives_file(tmp_path, epoch).parent.mkdir(exist_ok=True)
        negatives_file(tmp_path, epoch).touch()
    remove_negatives_after(tmp_path, Schedule(8, 2, 5), start=8)
    assert [negatives_file(tmp_path, epoch).exists() for epoch in (1, 2, 3)] == [True, True, False]


ROWS, PASSAGES, NEGATIVES = 12, 50, 3


@dataclass(frozen=True)
class FixedVectorsMiner(EpochMiner):
    """Mines with fixed vectors, one per text id."""

    vectors: np.ndarray

    def _vectors(self, ids: np.ndarray) -> np.ndarray:
        return self.vectors[ids]


def epoch_miner(run: Path, vectors: np.ndarray, records: list[dict[str, int]]) -> FixedVectorsMiner:
    """Return a miner for rows without negatives; query and positive of row r are the texts r and ROWS + r."""
    texts = TextStore(
        np.arange(ROWS + PASSAGES, dtype=np.uint64),
        np.arange(ROWS + PASSAGES) * 2,
        np.full(ROWS + PASSAGES, 2),
        np.arange(2 * (ROWS + PASSAGES), dtype=np.int32),
    )
    text = np.stack([np.arange(ROWS), ROWS + np.arange(ROWS)], axis=1).ravel()
    kind, none = np.full(ROWS, KINDS.index(RowKind.IN_BATCH), np.uint8), np.full(2 * ROWS, np.nan, np.float32)
    rows = row_store(kind, np.zeros(ROWS, np.int32), np.arange(ROWS + 1) * 2, np.ones(ROWS, np.int64), text, none)
    data = TrainingData(texts, rows, np.arange(ROWS, dtype=np.uint64) + 1000, {})
    plan = BatchPlan(rows, BatchSettings(4, NEGATIVES, seed=1))
    session = SimpleNamespace(
        runtime=SimpleNamespace(device=torch.device("cpu")), embedder=SimpleNamespace(similarity=COSINE)
    )

    def record_mining(step: int, epoch: int, numbers: dict[str, int], _seconds: float) -> None:
        records.append(numbers | {"step": step, "epoch": epoch})

    monitor = SimpleNamespace(record_mining=record_mining)
    options, schedule = RemineSection(remine_every_epoch=True, remine_range="0-8"), Schedule(3, 1, 9)
    miner = StoreMiner.from_data(data)
    return FixedVectorsMiner(session, texts, miner, plan, schedule, options, monitor, run, vectors)


def negatives(plan: BatchPlan) -> list[list[int]]:
    """Return the negatives of each row."""
    rows = plan.rows
    return [rows.text_ids[rows.bounds[row] + 2 : rows.bounds[row + 1]].tolist() for row in range(ROWS)]


def test_negatives_of_an_epoch_are_saved_and_the_next_epoch_has_others(tmp_path, capsys):
    records: list[dict[str, int]] = []
    one, other = np.random.default_rng(0).standard_normal((2, ROWS + PASSAGES, 6)).astype(np.float32)
    first = epoch_miner(tmp_path, one, records)
    assert first(0, 0) is first.plan
    found = negatives(first(1, 3))
    above = records[0]["above_positive"]
    assert records == [{"negatives": NEGATIVES * ROWS, "rows": ROWS, "above_positive": above, "step": 3, "epoch": 1}]
    for row, chosen in enumerate(found):
        nearest = np.argsort(-(one[ROWS:] @ one[row]), kind="stable") + ROWS
        nearest = nearest[nearest != ROWS + row][:8]
        assert len(set(chosen)) == NEGATIVES
        assert set(chosen) <= set(nearest.tolist())
    later = epoch_miner(tmp_path, other, records)
    assert negatives(later(1, 4)) == found
    assert len(records) == 1
    assert negatives(first(2, 6)) != found
    negatives_file(tmp_path, 1).unlink()
    assert negatives(later(1, 4)) != found
    warning = "is missing: the rest of epoch 2 uses negatives mined with the current model"
    assert warning in " ".join(capsys.readouterr().err.split())
    assert [record["epoch"] for record in records] == [1, 2, 1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> Callable[[Path, int], list[object]]:
    """Return the arguments of a run of 14 epochs with 3 steps each, of a small model without dropout."""
    draw, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    texts = [" ".join(draw.choice(WORDS, size)) for size in draw.integers(3, 9, 60)]
    rows = [{"query": f"{text} {number}", "pos": [texts[24 + number]]} for number, text in enumerate(texts[:24])]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs.save_small_model(texts, folder / "model", layers=1)
    return lambda out, processes: [
        "train", "--model", folder / "model", "--dataset", folder / "rows.jsonl", "--remine-every-epoch",
        "--neg-nums", 3, "--remine-range", "1-9", "--epochs", EPOCHS, "--batch-size", 8 // processes, "--lr", "1e-4",
        "--save-steps", 5, "--num-processes", processes, "-o", out,
    ]  # fmt: skip


def kill_when_exists(path: Path, command: list[object], out: Path, cache: Path) -> np.ndarray:
    """Start a run, kill it when `path` exists, and return the negatives of its second epoch."""
    process = subprocess.Popen(
        runs.command(*command), env=runs.environment(cache), stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not path.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    mined = np.load(negatives_file(out, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "modules.json").exists()
    return mined


def test_resumed_run_has_the_same_weights_and_two_ranks_mine_the_same_negatives(arguments, cache, tmp_path):
    uninterrupted, out, two = (tmp_path / name for name in ("uninterrupted", "killed", "two"))
    with ThreadPoolExecutor(2) as pool:
        first_run = pool.submit(runs.embedctl, *arguments(uninterrupted, 1), cache=cache)
        two_ranks_run = pool.submit(kill_when_exists, negatives_file(two, 1), arguments(two, 2), two, cache)
        mined = kill_when_exists(out / "states" / "step-00000005", arguments(out, 1), out, cache)
        resumed = runs.embedctl("train", "--resume", out, cache=cache)
    ended = first_run.result()
    assert ended.returncode == 0, ended.stderr
    assert "epoch 2: mined 72 negatives for 24 rows in" in ended.stderr
    assert "mined again from epoch 2 on: 3 per query from positions 1-9" in ended.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stderr
    assert runs.weights(out) == runs.weights(uninterrupted)
    assert mining_steps(out) == mining_steps(uninterrupted) == [STEPS_PER_EPOCH * epoch for epoch in range(1, EPOCHS)]
    assert not (out / "states").exists()
    np.testing.assert_array_equal(two_ranks_run.result(), mined)
    assert (mined >= 0).all()


def mining_steps(out: Path) -> list[int]:
    """Return the steps at which negatives were mined."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "mined_negatives" in line]

"""Negatives mined in a run: the same after a kill, the same from two ranks, and before any batch of their epoch."""

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
from embedctl.training.feeder import Feeder, Schedule
from embedctl.training.remine import Remine, forget_later, kept_file
from tests.data.stores import row_store

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

WORDS = ["tea", "water", "leaf", "cup", "kettle", "steam", "garden", "bee", "hive", "honey", "wing", "flower"]
EPOCHS, UPDATES = 14, 3
EVENTS: list[tuple[str, int, int]] = []


@dataclass(frozen=True)
class Noting(Feeder):
    """Notes what is asked of it in place of making batches."""

    def prepare(self, epoch: int, step: int) -> Any:
        EVENTS.append(("prepare", epoch, step))
        return self.plan


@pytest.mark.parametrize("start", [0, 5])
def test_no_batch_of_an_epoch_is_made_before_its_negatives(start):
    EVENTS.clear()

    def renew(epoch: int, update: int) -> str:
        EVENTS.append(("renew", epoch, update))
        return f"plan {epoch}"

    schedule = Schedule(batches_per_epoch=4, accumulation=1, epochs=3)
    for update, batches in Noting(None, "own", None, "all", renew).updates(schedule, start):
        assert batches == [f"plan {update // 4}"]
        EVENTS.append(("train", update // 4, update))
    renewed = [(epoch, update) for what, epoch, update in EVENTS if what == "renew"]
    assert renewed == ([(0, 0), (1, 4), (2, 8)] if start == 0 else [(1, 5), (2, 8)])
    for epoch, update in renewed:
        place = EVENTS.index(("renew", epoch, update))
        assert all(other < epoch for _, other, _ in EVENTS[:place])
        assert all(other >= epoch for _, other, _ in EVENTS[place:])


def test_what_was_mined_after_the_state_is_forgotten(tmp_path):
    for epoch in (1, 2, 3):
        kept_file(tmp_path, epoch).parent.mkdir(exist_ok=True)
        kept_file(tmp_path, epoch).touch()
    forget_later(tmp_path, Schedule(8, 2, 5), start=8)
    assert [kept_file(tmp_path, epoch).exists() for epoch in (1, 2, 3)] == [True, True, False]


ROWS, PASSAGES, WANTED = 12, 50, 3


@dataclass(frozen=True)
class Given(Remine):
    """Mines with vectors that are given, by text id."""

    vectors: np.ndarray

    def _vectors(self, ids: np.ndarray) -> np.ndarray:
        return self.vectors[ids]


def remine(run: Path, vectors: np.ndarray, said: list[dict[str, int]]) -> Given:
    """For rows without negatives: query and positive of row r are the texts r and ROWS + r."""
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
    plan = BatchPlan(rows, BatchSettings(4, WANTED, seed=1))
    session = SimpleNamespace(device=torch.device("cpu"))
    monitor = SimpleNamespace(mined=lambda step, epoch, numbers, _: said.append(numbers | {"at": step, "in": epoch}))
    ranks = RemineSection(remine_every_epoch=True, remine_range="0-8")
    return Given(session, texts, StoreMiner.from_data(data), plan, Schedule(3, 1, 9), ranks, monitor, run, vectors)


def negatives(plan: BatchPlan) -> list[list[int]]:
    """The negatives of each row."""
    rows = plan.rows
    return [rows.text[rows.bounds[row] + 2 : rows.bounds[row + 1]].tolist() for row in range(ROWS)]


def test_an_epoch_keeps_what_it_got_and_the_next_gets_others(tmp_path, capsys):
    said: list[dict[str, int]] = []
    one, other = np.random.default_rng(0).standard_normal((2, ROWS + PASSAGES, 6)).astype(np.float32)
    first = remine(tmp_path, one, said)
    assert first(0, 0) is first.plan
    found = negatives(first(1, 3))
    assert said == [
        {"negatives": WANTED * ROWS, "rows": ROWS, "above_positive": said[0]["above_positive"], "at": 3, "in": 1}
    ]
    for row, chosen in enumerate(found):
        nearest = np.argsort(-(one[ROWS:] @ one[row]), kind="stable") + ROWS
        nearest = nearest[nearest != ROWS + row][:8]
        assert len(set(chosen)) == WANTED
        assert set(chosen) <= set(nearest.tolist())
    later = remine(tmp_path, other, said)
    assert negatives(later(1, 4)) == found
    assert len(said) == 1
    assert negatives(first(2, 6)) != found
    kept_file(tmp_path, 1).unlink()
    assert negatives(later(1, 4)) != found
    assert "is missing; the rest of epoch 2 gets what the model finds now" in " ".join(capsys.readouterr().err.split())
    assert [numbers["in"] for numbers in said] == [1, 2, 1]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def begin(tmp_path_factory) -> Callable[[Path, int], list[object]]:
    """The arguments of a run of 14 epochs of 3 updates, of a small model without dropout."""
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


def killed(command: list[object], out: Path, cache: Path, awaited: Path) -> np.ndarray:
    """Kill a run when a file of its is there; gives the negatives of its second epoch."""
    process = subprocess.Popen(
        runs.command(*command), env=runs.environment(cache), stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not awaited.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    mined = np.load(kept_file(out, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "modules.json").exists()
    return mined


def test_a_killed_run_ends_with_the_same_bytes_and_two_ranks_mine_the_same(begin, cache, tmp_path):
    whole, out, two = tmp_path / "whole", tmp_path / "killed", tmp_path / "two"
    with ThreadPoolExecutor(2) as beside:
        left_alone = beside.submit(runs.embedctl, *begin(whole, 1), cache=cache)
        of_two = beside.submit(killed, begin(two, 2), two, cache, kept_file(two, 1))
        mined = killed(begin(out, 1), out, cache, out / "states" / "step-00000005")
        resumed = runs.embedctl("train", "--resume", out, cache=cache)
    ended = left_alone.result()
    assert ended.returncode == 0, ended.stderr
    assert "epoch 2: mined 72 negatives for 24 rows in" in ended.stderr
    assert "from epoch 2 on mined anew: 3 of ranks 1-9" in ended.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stderr
    assert runs.weights(out) == runs.weights(whole)
    assert mined_at(out) == mined_at(whole) == [UPDATES * epoch for epoch in range(1, EPOCHS)]
    assert not (out / "states").exists()
    np.testing.assert_array_equal(of_two.result(), mined)
    assert (mined >= 0).all()


def mined_at(out: Path) -> list[int]:
    """The steps at which negatives were mined."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "mined_negatives" in line]

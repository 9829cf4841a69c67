"""The loop's decisions, with a session that learns nothing and metrics that are given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from embedctl.config import TrainConfig, load
from embedctl.errors import TrainingError
from embedctl.training import checkpoint
from embedctl.training.feeder import Schedule
from embedctl.training.job import TrainJob
from embedctl.training.loop import History, Loop


@dataclass
class Recorder:
    """Monitor and exports: remembers what it is told."""

    steps: list[int] = field(default_factory=list)
    best: list[int] = field(default_factory=list)
    epochs: list[tuple[int, int]] = field(default_factory=list)

    def step(self, step: int, *_numbers: Any) -> None:
        self.steps.append(step)

    def evaluated(self, *_facts: Any) -> None: ...


def loop(folder: Path, recorder: Recorder, values: list[float], **flags: Any) -> Loop:
    """Two epochs of four updates; the metrics of each evaluation are `values`, one after the other."""
    job = TrainJob.of(load(TrainConfig, None, {"output_dir": str(folder)} | flags))
    schedule, found = Schedule(4, 1, 2, job.optim.max_steps), iter(values)
    prepared = SimpleNamespace(weights=SimpleNamespace(without_negatives=0, masked=0), batch=[0], tokens=1)

    def updates(schedule: Schedule, start: int) -> Iterator[tuple[int, list[Any]]]:
        yield from ((update, [prepared]) for update in range(start, schedule.total))

    def measure() -> dict[str, float]:
        value = next(found)
        return {"nDCG@10": value, "R@1": -value}

    return Loop(
        session=SimpleNamespace(
            optimizer=SimpleNamespace(param_groups=[]),
            update=lambda _norm: torch.tensor(1.0),
            device=torch.device("cpu"),
            state=lambda: {"weight": torch.ones(2)},
            budget=1,
            scaled=False,
        ),
        feeder=SimpleNamespace(updates=updates, plan=SimpleNamespace(mixture=SimpleNamespace(batch_size=1))),
        schedule=schedule,
        stepper=lambda *_arguments, **_options: torch.tensor(0.5),
        monitor=recorder,
        history=History(job.run.metric),
        measure=measure if values else None,
        finish=SimpleNamespace(keep_best=recorder.best.append, keep_epoch=lambda *place: recorder.epochs.append(place)),
        job=job,
    )


def test_patience_ends_a_run_and_each_better_model_is_kept(tmp_path: Path, capsys):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.1, 0.5, 0.4, 0.5, 0.9], eval_steps=1, early_stopping_patience=2)
    assert run.run(0) == 4
    assert recorder.best == [1, 2]
    assert "2 evaluations without a better nDCG@10: stopped after step 4" in capsys.readouterr().err.splitlines()
    assert recorder.steps == [1, 2, 3, 4]
    assert run.history.best == {"step": 2, "metrics": {"nDCG@10": 0.5, "R@1": -0.5}}


def test_patience_counts_what_a_resumed_run_had_behind_it(tmp_path: Path):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.4, 0.9], eval_steps=1, early_stopping_patience=2)
    run.history.entries.extend({"step": step, "metrics": {"nDCG@10": 0.6 - step / 10}} for step in (1, 2))
    assert run.run(2) == 3
    assert recorder.best == []


def test_another_metric_may_decide(tmp_path: Path):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.1, 0.5, 0.05, 0.4], eval_steps=2, metric="R@1")
    assert run.run(0) == 8
    assert recorder.best == [2, 6]
    assert run.history.best["step"] == 6


def test_a_metric_that_is_not_measured_names_those_that_are(tmp_path: Path):
    with pytest.raises(TrainingError, match="--metric R@5: not measured") as wrong:
        loop(tmp_path, Recorder(), [0.1], eval_steps=1, metric="R@5").run(0)
    assert "nDCG@10, R@1" in wrong.value.hint


def test_evaluations_and_exports_come_with_epochs_and_the_last_step(tmp_path: Path):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.1, 0.2], max_steps=6)
    assert run.run(0) == 6
    assert [entry["step"] for entry in run.history.entries] == [4, 6]
    assert recorder.epochs == [(1, 4)]


@pytest.mark.parametrize(("keep", "left"), [(1, [7]), (3, [5, 6, 7])])
def test_the_newest_states_are_kept(keep, left, tmp_path: Path):
    """No state follows the last step: the run is over."""
    assert loop(tmp_path, Recorder(), [], save_steps=1, keep=keep).run(0) == 8
    assert [int(state.name.removeprefix("step-")) for state in checkpoint.list_states(tmp_path)] == left[::-1]
    assert all(checkpoint.damage(state) is None for state in checkpoint.list_states(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run(value, tmp_path: Path):
    run = loop(tmp_path, Recorder(), [])
    run.stepper = lambda *_arguments, **_options: torch.tensor(value)
    with pytest.raises(TrainingError, match="at step 1") as wrong:
        run.run(0)
    assert "--lr 2e-05 may be too high" in wrong.value.hint

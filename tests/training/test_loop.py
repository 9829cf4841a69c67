"""Evaluation, early stopping, saving and errors of the training loop, with a fake session and fixed metrics."""

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
from embedctl.run_folder import RunFolder
from embedctl.training import checkpoint
from embedctl.training.batch_loader import Schedule
from embedctl.training.evaluator import EvaluationHistory
from embedctl.training.job import TrainJob
from embedctl.training.loop import Loop


@dataclass
class Recorder:
    """Monitor that stores the steps it records, and lists of the saved models."""

    steps: list[int] = field(default_factory=list)
    best: list[int] = field(default_factory=list)
    epochs: list[tuple[int, int]] = field(default_factory=list)

    def record_step(self, step: int, *_numbers: Any) -> None:
        self.steps.append(step)

    def record_evaluation(self, *_facts: Any) -> None: ...


def loop(folder: Path, recorder: Recorder, values: list[float], **flags: Any) -> Loop:
    """Return a loop of two epochs of four steps; evaluation i returns `values[i]`."""
    job = TrainJob.from_config(load(TrainConfig, None, {"output_dir": str(folder)} | flags))
    schedule, remaining = Schedule(4, 1, 2, job.optim.max_steps), iter(values)
    prepared = SimpleNamespace(weights=SimpleNamespace(without_negatives=0, masked=0), batch=[0], tokens=1)

    def steps(schedule: Schedule, start: int) -> Iterator[tuple[int, list[Any]]]:
        yield from ((step, [prepared]) for step in range(start, schedule.total_steps))

    def evaluator() -> dict[str, float]:
        value = next(remaining)
        return {"nDCG@10": value, "R@1": -value}

    return Loop(
        session=SimpleNamespace(
            optimizer=SimpleNamespace(param_groups=[]),
            optimizer_step=lambda _norm: torch.tensor(1.0),
            runtime=SimpleNamespace(device=torch.device("cpu")),
            state_dict=lambda: {"weight": torch.ones(2)},
            budget=1,
            uses_grad_scaler=False,
        ),
        loader=SimpleNamespace(steps=steps, plan=SimpleNamespace(settings=SimpleNamespace(batch_size=1))),
        schedule=schedule,
        add_gradient=lambda *_arguments, **_options: torch.tensor(0.5),
        monitor=recorder,
        history=EvaluationHistory(job.run.metric),
        evaluator=evaluator if values else None,
        saver=SimpleNamespace(save_best=recorder.best.append, save_epoch=lambda *args: recorder.epochs.append(args)),
        job=job,
    )


def test_early_stopping_ends_the_run_and_each_better_model_is_saved(tmp_path: Path, capsys):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.1, 0.5, 0.4, 0.5, 0.9], eval_steps=1, early_stopping_patience=2)
    assert run.run(0) == 4
    assert recorder.best == [1, 2]
    message = "stopped after step 4: nDCG@10 did not improve in the last 2 evaluations"
    assert message in capsys.readouterr().err.splitlines()
    assert recorder.steps == [1, 2, 3, 4]
    assert run.history.best == {"step": 2, "metrics": {"nDCG@10": 0.5, "R@1": -0.5}}


def test_early_stopping_of_a_resumed_run_counts_earlier_evaluations(tmp_path: Path):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.4, 0.9], eval_steps=1, early_stopping_patience=2)
    run.history.entries.extend({"step": step, "metrics": {"nDCG@10": 0.6 - step / 10}} for step in (1, 2))
    assert run.run(2) == 3
    assert recorder.best == []


def test_models_are_compared_by_the_chosen_metric(tmp_path: Path):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.1, 0.5, 0.05, 0.4], eval_steps=2, metric="R@1")
    assert run.run(0) == 8
    assert recorder.best == [2, 6]
    assert run.history.best["step"] == 6


def test_error_for_an_unknown_metric_lists_the_computed_ones(tmp_path: Path):
    with pytest.raises(TrainingError, match="--metric R@5: this metric is not computed") as error:
        loop(tmp_path, Recorder(), [0.1], eval_steps=1, metric="R@5").run(0)
    assert "nDCG@10, R@1" in error.value.hint


def test_evaluation_follows_each_epoch_and_the_last_step(tmp_path: Path):
    recorder = Recorder()
    run = loop(tmp_path, recorder, [0.1, 0.2], max_steps=6)
    assert run.run(0) == 6
    assert [entry["step"] for entry in run.history.entries] == [4, 6]
    assert recorder.epochs == [(1, 4)]


@pytest.mark.parametrize(("keep", "kept"), [(1, [7]), (3, [5, 6, 7])])
def test_newest_checkpoints_are_kept(keep, kept, tmp_path: Path):
    """After the last step no checkpoint is saved, because the run is finished."""
    assert loop(tmp_path, Recorder(), [], save_steps=1, keep=keep).run(0) == 8
    found = RunFolder(tmp_path).checkpoints
    assert [int(path.name.removeprefix("step-")) for path in found] == kept[::-1]
    assert all(checkpoint.find_damage(path) is None for path in found)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_is_an_error(value, tmp_path: Path):
    run = loop(tmp_path, Recorder(), [])
    run.add_gradient = lambda *_arguments, **_options: torch.tensor(value)
    with pytest.raises(TrainingError, match="at step 1") as error:
        run.run(0)
    assert "use an --lr below 2e-05" in error.value.hint

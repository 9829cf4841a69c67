"""The loop over updates: steps, evaluations, states to resume from, and the reasons to stop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from embedctl.distributed.ranks import any_rank, world
from embedctl.errors import Stopped, TrainingError
from embedctl.tokens.pipeline import Arrival
from embedctl.training import checkpoint
from embedctl.training.checkpoint import Position
from embedctl.training.feeder import Feeder, Schedule
from embedctl.training.job import TrainJob
from embedctl.training.monitor import Monitor
from embedctl.training.optim import lr_at, set_lr
from embedctl.training.runtime import StopSignals
from embedctl.training.session import Session
from embedctl.training.step import Prepared, Stepper


@dataclass
class History:
    """The evaluations of a run, which a state keeps."""

    metric: str
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Record an evaluation.

        Raises:
            TrainingError: it has no metric of the name by which runs are compared.
        """
        if self.metric not in metrics:
            raise TrainingError(f"--metric {self.metric}: not measured", f"use one of {', '.join(metrics)}")
        self.entries.append({"step": step, "metrics": metrics})

    @property
    def best(self) -> dict[str, Any]:
        """The first evaluation with the highest metric."""
        return max(self.entries, key=lambda entry: float(entry["metrics"][self.metric]))

    @property
    def without_better(self) -> int:
        """Evaluations since the best one."""
        return len(self.entries) - 1 - self.entries.index(self.best) if self.entries else 0


@dataclass(frozen=True)
class Pending:
    """An update whose numbers are still on their way from the device."""

    update: int
    epoch: int
    lr: float
    numbers: Arrival
    batches: list[Prepared]


@dataclass
class Loop:
    """A run between its preparation and its last export."""

    job: TrainJob  # the run's
    session: Session  # what is trained
    feeder: Feeder  # makes the batches
    schedule: Schedule  # their order
    stepper: Stepper  # the step
    monitor: Monitor  # what is shown and recorded
    history: History  # evaluations so far
    measure: Callable[[], dict[str, float]] | None  # the metrics now; None without evaluation rows
    keep_best: Callable[[int], None]  # called when an evaluation before the last is the best so far
    keep_epoch: Callable[[int, int], None]  # called with the epoch and the step when an epoch is over
    pending: Pending | None = None

    def run(self, start: int) -> int:
        """Train from update `start` to the end, or until patience runs out.

        Returns:
            Updates done.

        Raises:
            TrainingError: the loss is not finite, or a query has only one candidate.
            Stopped: Ctrl-C or SIGTERM came; the state is saved.
        """
        patience = self.job.patience
        with StopSignals() as stop, contextlib.closing(self.feeder.updates(self.schedule, start)) as updates:
            for update, batches in updates:
                self._update(update, batches)
                done = update + 1
                self._after(done)
                if any_rank(stop.received is not None, self.session.device):
                    self._stop(done, stop.exit_code)
                if patience and self.history.without_better >= patience:
                    self.monitor.say(
                        f"{patience} evaluations without a better {self.history.metric}: stopped after step {done}"
                    )
                    return done
        self._report()
        return self.schedule.total

    def _update(self, update: int, batches: list[Prepared]) -> None:
        lr = lr_at(update, self.schedule.total, self.job.optim)
        set_lr(self.session.optimizer, lr)
        losses = []
        for place, prepared in enumerate(batches):
            self._expect_candidates(prepared)
            number = update * self.job.optim.gradient_accumulation_steps + place
            last = place == len(batches) - 1
            losses.append(self.stepper(prepared, number, last=last, scale=1 / len(batches)))
        norm = self.session.update(self.job.optim.max_grad_norm)
        self._report()
        numbers = Arrival(torch.stack([*losses, norm.to(losses[0])]))
        self.pending = Pending(update, self.schedule.batches(update)[0][0], lr, numbers, batches)

    def _report(self) -> None:
        """Show and record the update before this one: its numbers have arrived by now, nobody waits for them."""
        if self.pending is None:
            return
        past, self.pending = self.pending, None
        *losses, norm = past.numbers.wait().tolist()
        loss = sum(losses) / len(losses)
        if not (math.isfinite(loss) and math.isfinite(norm)) and not self._skipped_by_scaler(loss):
            raise TrainingError(
                f"the loss is {loss} and the gradient's norm {norm} at step {past.update + 1}", self._advice()
            )
        numbers = {"epoch": past.epoch, "loss": loss, "lr": past.lr, "grad_norm": norm}
        masked = sum(prepared.weights.masked for prepared in past.batches)
        rows, tokens = (
            sum(len(prepared.batch) for prepared in past.batches),
            sum(prepared.tokens for prepared in past.batches),
        )
        self.monitor.step(past.update + 1, numbers | {"masked": masked}, rows, tokens)

    def _skipped_by_scaler(self, loss: float) -> bool:
        """With fp16 the scaler leaves out updates whose gradients overflow, and tries again with smaller ones."""
        return self.session.scaled and math.isfinite(loss)

    def _advice(self) -> str:
        if self.session.scaled:
            return "fp16 overflows easily: use --mixed-precision bf16 or no"
        return f"--lr {self.job.optim.lr:g} may be too high, or --temperature {self.job.loss.temperature:g} too low"

    def _expect_candidates(self, prepared: Prepared) -> None:
        if prepared.weights.without_negatives == len(prepared.batch):
            raise TrainingError(
                "every query of a batch has only one candidate, its positive: the loss is 0 and nothing is learnt",
                "give the rows negatives (`embedctl mine-negatives`), raise --batch-size or use --in-batch all",
            )

    def _after(self, done: int) -> None:
        """What follows an update: evaluation, the epoch's export, a state."""
        job, final, ended = self.job, done == self.schedule.total, self.schedule.ends_epoch(done - 1)
        due = done % job.eval_steps == 0 if job.eval_steps else ended
        if due or final:
            self._report()
            self.evaluate(done)
            if self.history.entries and self.history.best["step"] == done and not final:
                self.keep_best(done)
        if ended:
            self.keep_epoch(done // self.schedule.updates_per_epoch, done)
        if (done % job.save_steps == 0 if job.save_steps else ended) and not final:
            self.save(done)

    def evaluate(self, done: int) -> None:
        """Measure now and record it; nothing to do without evaluation rows."""
        if self.measure is not None:
            begun = time.monotonic()
            metrics = self.measure()
            self.history.add(done, metrics)
            self.monitor.evaluated(done, metrics, time.monotonic() - begun)

    def save(self, done: int) -> None:
        """Save the state after `done` updates. Called by all ranks."""
        self._report()
        batch_size = self.feeder.plan.mixture.batch_size
        position = Position(done, batch_size, self.session.budget, self.history.entries, world())
        checkpoint.save(self.job.folder, position, self.session.state(), self.job.keep)

    def _stop(self, done: int, exit_code: int) -> None:
        self.save(done)
        hint = f"go on with `embedctl train --resume {self.job.folder}`"
        raise Stopped(f"stopped after step {done}; the state is saved", hint, exit_code=exit_code)

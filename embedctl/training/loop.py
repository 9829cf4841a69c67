"""The loop over updates: steps, evaluations, states to resume from, and the reasons to stop."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from embedctl import console
from embedctl.distributed.ranks import any_rank, world_size
from embedctl.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, Stopped, TrainingError
from embedctl.tokens.pipeline import HostCopy
from embedctl.training import checkpoint
from embedctl.training.checkpoint import Position
from embedctl.training.feeder import Feeder, Schedule
from embedctl.training.finish import Finish
from embedctl.training.job import TrainJob
from embedctl.training.measure import History
from embedctl.training.monitor import Monitor
from embedctl.training.optim import lr_at, set_lr
from embedctl.training.runtime import stop_signals
from embedctl.training.session import Session
from embedctl.training.step import Prepared, Stepper


@dataclass(frozen=True)
class Pending:
    """An update whose numbers are still on their way from the device."""

    update: int
    epoch: int
    lr: float
    numbers: HostCopy
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
    finish: Finish  # exports the best models and those of the epochs
    pending: Pending | None = None  # the update that is not reported yet

    def run(self, start: int) -> int:
        """Train from update `start` to the end, or until patience runs out.

        Returns:
            Updates done.

        Raises:
            TrainingError: the loss is not finite, or a query has only one candidate.
            Stopped: Ctrl-C or SIGTERM came; the state is saved.
        """
        patience = self.job.run.early_stopping_patience
        with stop_signals() as received, contextlib.closing(self.feeder.updates(self.schedule, start)) as updates:
            for update, batches in updates:
                self._update(update, batches)
                done = update + 1
                self._after(done)
                if any_rank(bool(received), self.session.device):
                    self.save(done)
                    code = EXIT_TERMINATED if received[-1:] == [signal.SIGTERM] else EXIT_INTERRUPTED
                    hint = f"go on with `embedctl train --resume {self.job.folder}`"
                    raise Stopped(f"stopped after step {done}; the state is saved", hint, exit_code=code)
                if patience and self.history.without_better >= patience:
                    better = f"{patience} evaluations without a better {self.history.metric}"
                    console.info(f"{better}: stopped after step {done}")
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
        numbers = HostCopy(torch.stack([*losses, norm.to(losses[0])]))
        self.pending = Pending(update, self.schedule.batches(update)[0][0], lr, numbers, batches)

    def _report(self) -> None:
        """Show and record the update before this one: its numbers have arrived by now, nobody waits for them."""
        if self.pending is None:
            return
        past, self.pending = self.pending, None
        *losses, norm = past.numbers.wait().tolist()
        loss = sum(losses) / len(losses)
        # with fp16 the scaler leaves out updates whose gradients overflow, and tries again with smaller ones
        if not math.isfinite(loss) or not (math.isfinite(norm) or self.session.scaled):
            wrong = f"the loss is {loss} and the gradient's norm {norm} at step {past.update + 1}"
            raise TrainingError(wrong, self._advice())
        numbers = {"epoch": past.epoch, "loss": loss, "lr": past.lr, "grad_norm": norm}
        masked = sum(prepared.weights.masked for prepared in past.batches)
        rows = sum(len(prepared.batch) for prepared in past.batches)
        tokens = sum(prepared.tokens for prepared in past.batches)
        self.monitor.step(past.update + 1, numbers | {"masked": masked}, rows, tokens)

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
        due = done % job.run.eval_steps == 0 if job.run.eval_steps else ended
        if due or final:
            self._report()
            self.evaluate(done)
            if self.history.entries and self.history.best["step"] == done and not final:
                self.finish.keep_best(done)
        if ended:
            self.finish.keep_epoch(done // self.schedule.updates_per_epoch, done)
        if (done % job.run.save_steps == 0 if job.run.save_steps else ended) and not final:
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
        batch_size = self.feeder.plan.settings.batch_size
        position = Position(done, batch_size, self.session.budget, self.history.entries, world_size())
        checkpoint.save(self.job.folder, position, self.session.state(), self.job.run.keep)

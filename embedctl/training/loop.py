"""The training loop: optimizer steps, evaluations, checkpoints, early stopping and stop signals."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from embedctl import console
from embedctl.console import plural
from embedctl.distributed.ranks import any_rank, is_main, world_size
from embedctl.errors import EXIT_SIGNAL, Stopped, TrainingError
from embedctl.shell import embedctl_command
from embedctl.tokens.pipeline import HostCopy
from embedctl.training import checkpoint
from embedctl.training.batch_loader import BatchLoader, Schedule
from embedctl.training.checkpoint import Progress
from embedctl.training.evaluator import EvaluationHistory
from embedctl.training.gradcache import GradCache, PreparedBatch
from embedctl.training.job import TrainJob
from embedctl.training.monitor import Monitor
from embedctl.training.optim import lr_at, set_lr
from embedctl.training.runtime import stop_signals
from embedctl.training.saver import ModelSaver
from embedctl.training.session import Session


@dataclass(frozen=True)
class UnreportedStep:
    """A finished step that is not yet recorded: its losses and gradient norm are still being copied to the CPU."""

    step: int
    values: HostCopy  # the loss of each batch, then the gradient norm
    batches: list[PreparedBatch]


@dataclass
class Loop:
    """The training loop of a run."""

    job: TrainJob
    session: Session
    loader: BatchLoader
    schedule: Schedule
    add_gradient: GradCache  # adds the gradient of a batch to the parameters
    monitor: Monitor
    history: EvaluationHistory
    evaluator: Callable[[], dict[str, float]] | None  # returns the current metrics; None without evaluation data
    saver: ModelSaver
    unreported: UnreportedStep | None = None
    warned_of_zero_loss: bool = False

    def run(self, start: int) -> int:
        """Train from step `start` to the last step or until early stopping, and return the number of steps done.

        Raises:
            TrainingError: the loss is not finite.
            Stopped: Ctrl-C, SIGTERM or SIGHUP was received; a checkpoint is saved.
        """
        patience = self.job.run.early_stopping_patience
        with stop_signals() as received, contextlib.closing(self.loader.steps(self.schedule, start)) as steps:
            for step, batches in steps:
                self._train_step(step, batches)
                done = step + 1
                self._after_step(done)
                if any_rank(bool(received), self.session.runtime.device):
                    self.save_checkpoint(done)
                    code = EXIT_SIGNAL + (received[-1] if received else signal.SIGINT)
                    hint = f"continue with `{embedctl_command('train', '--resume', self.job.folder)}`"
                    raise Stopped(f"stopped after step {done}; a checkpoint is saved", hint, exit_code=code)
                if patience and self.history.evaluations_since_best >= patience:
                    reason = f"{self.history.metric} did not improve in the last {plural(patience, 'evaluation')}"
                    console.info(f"stopped after step {done}: {reason}")
                    return done
        self._report()
        return self.schedule.total_steps

    def _train_step(self, step: int, batches: list[PreparedBatch]) -> None:
        set_lr(self.session.optimizer, lr_at(step, self.schedule.total_steps, self.job.optim))
        losses = []
        for index, batch in enumerate(batches):
            if batch.weights.without_negatives == len(batch.batch):
                self._warn_of_zero_loss(step + 1)
            number = step * self.job.optim.gradient_accumulation_steps + index
            last = index == len(batches) - 1
            losses.append(self.add_gradient(batch, number, last=last, scale=1 / len(batches)))
        norm = self.session.optimizer_step(self.job.optim.max_grad_norm)
        self._report()
        values = HostCopy(torch.stack([*losses, norm.to(losses[0])]))
        self.unreported = UnreportedStep(step, values, batches)

    def _warn_of_zero_loss(self, step: int) -> None:
        if is_main() and not self.warned_of_zero_loss:
            message = f"step {step}: no query of a batch has a negative, so the loss of the batch is 0"
            console.warn(f"{message}; this can happen if many rows have the same query")
        self.warned_of_zero_loss = True

    def _report(self) -> None:
        """Print and record the previous step, if this is not done yet.

        Its values are on the CPU by now, so the device continues with the current step in the meantime.
        """
        if self.unreported is None:
            return
        previous, self.unreported = self.unreported, None
        *losses, norm = previous.values.wait().tolist()
        loss = sum(losses) / len(losses)
        # With fp16, the gradient scaler skips a step whose gradients overflow and then reduces the scale.
        if not math.isfinite(loss) or not (math.isfinite(norm) or self.session.uses_grad_scaler):
            message = f"the loss is {loss} and the gradient norm is {norm} at step {previous.step + 1}"
            raise TrainingError(message, self._divergence_hint())
        lr = lr_at(previous.step, self.schedule.total_steps, self.job.optim)
        numbers = {"epoch": self.schedule.epoch(previous.step), "loss": loss, "lr": lr, "grad_norm": norm}
        masked = sum(batch.weights.masked for batch in previous.batches)
        rows = sum(len(batch.batch) for batch in previous.batches)
        tokens = sum(batch.tokens for batch in previous.batches)
        self.monitor.record_step(previous.step + 1, numbers | {"masked": masked}, rows, tokens)

    def _divergence_hint(self) -> str:
        if self.session.uses_grad_scaler:
            return "use --mixed-precision bf16 or --mixed-precision no, because values overflow easily in fp16"
        optim, loss = self.job.optim, self.job.loss
        return f"use an --lr below {optim.lr:g}, or a --temperature above {loss.temperature:g}"

    def _after_step(self, done: int) -> None:
        """Evaluate, save models and save a checkpoint if they are due after `done` steps."""
        options, epoch_ended = self.job.run, self.schedule.ends_epoch(done - 1)
        final = done == self.schedule.total_steps
        evaluation_due = done % options.eval_steps == 0 if options.eval_steps else epoch_ended
        if evaluation_due or final:
            self._report()
            self.evaluate(done)
            if self.history.entries and self.history.best["step"] == done and not final:
                self.saver.save_best(done)
        if epoch_ended:
            self.saver.save_epoch(done // self.schedule.steps_per_epoch, done)
        if (done % options.save_steps == 0 if options.save_steps else epoch_ended) and not final:
            self.save_checkpoint(done)

    def evaluate(self, done: int) -> None:
        """Evaluate the model after `done` steps and record the metrics; do nothing without evaluation data."""
        if self.evaluator is not None:
            start = time.monotonic()
            metrics = self.evaluator()
            self.history.add(done, metrics)
            self.monitor.record_evaluation(done, metrics, time.monotonic() - start)

    def save_checkpoint(self, done: int) -> None:
        """Save a checkpoint of the current state, in which `done` steps are completed. Called by all ranks."""
        self._report()
        batch_size = self.loader.plan.settings.batch_size
        settings = self.job.fixed_settings
        progress = Progress(done, batch_size, self.session.budget, self.history.entries, world_size(), settings)
        checkpoint.save(self.job.folder, progress, self.session.state_dict(), self.job.run.keep)

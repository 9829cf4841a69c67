"""The first panel: what is about to happen, in numbers."""

from __future__ import annotations

import numpy as np

from embedctl import console
from embedctl.config import TINY
from embedctl.data.batches import BatchPlan
from embedctl.data.store import TrainingData
from embedctl.distributed.ranks import world
from embedctl.resources import shown
from embedctl.training.feeder import Schedule
from embedctl.training.job import TrainJob
from embedctl.training.session import Session
from embedctl.training.targets import Weights


def show_overview(
    job: TrainJob, session: Session, data: TrainingData, plan: BatchPlan, schedule: Schedule, start: int
) -> None:
    """Draw the panel on the main rank."""
    facts, optim = data.facts, job.optim
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in facts["kinds"].items())
    compute = str(session.runtime.compute).removeprefix("torch.")
    masters = "" if compute == "float32" else " compute, float32 masters; loss in float32"
    spread = f", {session.runtime.strategy}: {session.runtime.reason}" if world() > 1 else ""
    console.panel(
        "embedctl train",
        {
            "model": _model(job, session),
            "data": f"{facts['rows']:,} rows ({kinds}), {facts['texts']:,} distinct texts, {facts['tokens']:,} tokens",
            **_batch(job, session, data, plan),
            **_negatives(job),
            "steps": _steps(schedule, start),
            "optimizer": f"AdamW, lr {optim.lr:g} ({optim.lr_scheduler}, warm-up {optim.warmup_proportion:g}), "
            f"seed {optim.seed}",
            "precision": compute + masters,
            "processes": f"{world()} on {session.device.type}{spread}",
            "evaluation": ", ".join(map(shown, job.data.eval_dataset))
            or "none (--eval-dataset FILE measures the model as it learns)",
            "output": job.run.output_dir,
        },
    )


def _batch(job: TrainJob, session: Session, data: TrainingData, plan: BatchPlan) -> dict[str, str]:
    """The first batch stands for all."""
    first = plan.batch(0, 0)
    tokens = int(data.texts.lengths[first.texts].sum())
    candidates = Weights.of(first, job.loss.in_batch).matrix(np.arange(len(first))).sum(axis=1).mean()
    updates = job.optim.gradient_accumulation_steps
    accumulated = f", {updates} batches an update" if updates > 1 else ""
    layout = "packed" if session.embedder.packed else "padded"
    return {
        "batch": f"{plan.mixture.batch_size} queries{accumulated}; about {candidates:,.0f} candidates a query",
        "tokens": f"about {tokens:,} a step, {session.budget:,} at most in one forward ({layout})",
    }


def _negatives(job: TrainJob) -> dict[str, str]:
    remine = job.remine
    if remine is None:
        return {}
    margin = f", at least {remine.remine_margin:g} below the positive" if remine.remine_margin is not None else ""
    taken = f"{job.data.neg_nums} of ranks {remine.remine_range}{margin}"
    return {"negatives": f"from epoch 2 on mined anew: {taken}"}


def _steps(schedule: Schedule, start: int) -> str:
    began = f", from step {start}" if start else ""
    epoch = f"{schedule.updates_per_epoch:,}"
    if schedule.max_steps is not None:
        return f"{schedule.total:,} by --max-steps (an epoch has {epoch}){began}"
    epochs = "one epoch" if schedule.epochs == 1 else f"{schedule.epochs} epochs of {epoch}"
    return f"{schedule.total:,} ({epochs}){began}"


def _model(job: TrainJob, session: Session) -> str:
    weights = sum(weight.numel() for weight in session.embedder.parameters())
    if job.model == TINY:
        return (
            f"built-in, from scratch, {weights / 1e6:.1f}M weights, with its own lr, batch and epochs unless given; "
            "for a pretrained model: --model BAAI/bge-base-zh-v1.5"
        )
    trained = sum(weight.numel() for weight in session.embedder.parameters() if weight.requires_grad)
    adapters = f", adapters of {trained / 1e6:.1f}M" if job.tune.lora_rank else ""
    size = f"{weights / 1e6:.1f}M weights{adapters}, {session.embedder.dimension} dimensions"
    return f"{shown(job.model)}, {size}"

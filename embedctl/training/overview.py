"""The first panel: what is about to happen, in numbers."""

from __future__ import annotations

import numpy as np

from embedctl import console
from embedctl.config import TINY, TrainConfig
from embedctl.data.batches import BatchPlan
from embedctl.data.store import TrainingData
from embedctl.training.candidates import Weights
from embedctl.training.feeder import Schedule
from embedctl.training.gather import world
from embedctl.training.session import Session


def show_overview(
    config: TrainConfig, session: Session, data: TrainingData, plan: BatchPlan, schedule: Schedule, start: int
) -> None:
    """Draw the panel on the main rank."""
    optim = config.optim
    first = plan.batch(0, 0)
    tokens = int(data.texts.lengths[first.texts].sum())
    weight_QD = Weights.of(first, config.loss.in_batch).matrix(np.arange(len(first)))
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in data.facts["kinds"].items())
    accumulated = f", {optim.gradient_accumulation_steps} batches an update" if optim.gradient_accumulation_steps > 1 else ""
    console.panel(
        "embedctl train",
        {
            "model": _model(config, session),
            "data": f"{data.facts['rows']:,} rows ({kinds}), {data.facts['texts']:,} distinct texts, {data.facts['tokens']:,} tokens",
            "batch": f"{plan.mixture.batch_size} queries{accumulated}; about {weight_QD.sum(axis=1).mean():,.0f} candidates a query",
            "tokens": f"about {tokens:,} a step, {session.budget:,} at most in one forward ({'packed' if session.embedder.packed else 'padded'})",
            "steps": f"{schedule.total:,} ({optim.epochs} epochs of {schedule.updates_per_epoch:,})" + (f", from step {start}" if start else ""),
            "optimizer": f"AdamW, lr {optim.lr:g} ({optim.lr_scheduler}, warm-up {optim.warmup_proportion:g}), seed {optim.seed}",
            "precision": _precision(session),
            "processes": f"{world()} on {session.device.type}" + (f", {session.runtime.strategy}: {session.runtime.reason}" if world() > 1 else ""),
            "evaluation": ", ".join(config.data.eval_dataset) or "none (--eval-dataset FILE measures the model as it learns)",
            "output": config.run.output_dir,
        },
    )


def _model(config: TrainConfig, session: Session) -> str:
    weights = sum(weight.numel() for weight in session.embedder.parameters())
    if config.model.model_name_or_path == TINY:
        return (
            f"built-in, from scratch, {weights / 1e6:.1f}M weights, with its own lr, batch and epochs unless given; "
            "for a pretrained model: --model BAAI/bge-base-zh-v1.5"
        )
    trained = sum(weight.numel() for weight in session.embedder.parameters() if weight.requires_grad)
    adapters = f", adapters of {trained / 1e6:.1f}M" if config.tune.lora_rank else ""
    return f"{config.model.model_name_or_path}, {weights / 1e6:.1f}M weights{adapters}, {session.embedder.dimension} dimensions"


def _precision(session: Session) -> str:
    compute = str(session.runtime.compute).removeprefix("torch.")
    return compute if compute == "float32" else f"{compute} compute, float32 masters; loss in float32"

"""The panel that is printed before training: model, data, batch, steps and hardware."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from embedctl import console
from embedctl.config import TINY
from embedctl.console import plural
from embedctl.data.batches import BatchPlan
from embedctl.data.rows import NOT_USED, format_kinds
from embedctl.data.store import TrainingData
from embedctl.distributed.ranks import world_size
from embedctl.resources import display_path
from embedctl.training.batch_loader import Schedule
from embedctl.training.job import TrainJob
from embedctl.training.session import Session
from embedctl.training.targets import CandidateWeights


def show_overview(
    job: TrainJob, session: Session, data: TrainingData, plan: BatchPlan, schedule: Schedule, start: int
) -> None:
    """Print the panel; `start` is the number of steps done before a resumed run continues."""
    facts, optim = data.facts, job.optim
    texts = f"{plural(facts['texts'], 'distinct text')}, {plural(facts['tokens'], 'token')}"
    compute = str(session.runtime.compute_dtype).removeprefix("torch.")
    float32 = "" if compute == "float32" else "; weights, optimizer and loss in float32"
    warmup = f"warm-up {optim.warmup_proportion:.0%} of the steps"
    evaluation = ", ".join(map(display_path, job.data.eval_dataset))
    entries = {
        "model": _model(job, session),
        "data": f"{plural(facts['rows'], 'row')} ({format_kinds(facts['kinds'])}), {texts}",
        "lengths": _lengths(job),
        **_batch(job, session, data, plan),
        **_negatives(job),
        "steps": _steps(schedule, start),
        "optimizer": f"AdamW, learning rate {optim.lr:g} ({optim.lr_scheduler}, {warmup}), seed {optim.seed}",
        "precision": compute + float32,
        "processes": f"{world_size()} on {session.runtime.device.type}{_strategy(job.launch.strategy, session)}",
        "evaluation": evaluation or "none (use --eval-dataset FILE to evaluate during training)",
        "output": job.run.output_dir,
    }
    console.panel("embedctl train", entries)
    _warn_of_keys_not_used(facts["not_used"])


def _warn_of_keys_not_used(rows_of_key: Mapping[str, int]) -> None:
    for key, count in rows_of_key.items():
        console.warn(f"{plural(count, 'row has', 'rows have')} {NOT_USED[key]}")


def _strategy(requested: str, session: Session) -> str:
    """Describe how several processes share the work; with one, the strategy that was given has no effect."""
    if world_size() > 1:
        return f", {session.runtime.strategy} ({session.runtime.reason})"
    return "" if requested == "auto" else f" (--strategy {requested} has no effect with one process)"


def _lengths(job: TrainJob) -> str:
    lengths = {"queries": job.text.query_max_len, "passages": job.text.passage_max_len}
    parts = [f"{kind} to {length} tokens" for kind, length in lengths.items() if length is not None]
    return f"{', '.join(parts)}; longer texts are truncated" if parts else "the model does not truncate texts"


def _batch(job: TrainJob, session: Session, data: TrainingData, plan: BatchPlan) -> dict[str, str]:
    """Describe the first batch; other batches are similar."""
    batch = plan.batch(0, 0)
    tokens = int(data.texts.lengths[batch.texts].sum())
    candidates = CandidateWeights.from_batch(batch, job.loss.in_batch).matrix(np.arange(len(batch))).sum(axis=1).mean()
    accumulation = job.optim.gradient_accumulation_steps
    per_step = f", {accumulation} batches per step" if accumulation > 1 else ""
    layout = "packed" if session.embedder.packed else "padded"
    queries = plural(plan.settings.batch_size, "query", "queries")
    return {
        "batch": f"{queries}, each compared with about {candidates:,.0f} passages (positive and negatives){per_step}",
        "tokens": f"about {tokens:,} per batch, at most {session.budget:,} per forward pass ({layout})",
    }


def _negatives(job: TrainJob) -> dict[str, str]:
    remine = job.remine
    if remine is None:
        return {}
    margin = "" if remine.remine_margin is None else f", margin {remine.remine_margin:g}"
    selection = f"{job.data.neg_nums} per query from positions {remine.remine_range}{margin}"
    return {"negatives": f"mined again from epoch 2 on: {selection}"}


def _steps(schedule: Schedule, start: int) -> str:
    resumed = f", resumed after step {start:,}" if start else ""
    per_epoch = f"{schedule.steps_per_epoch:,} per epoch"
    if schedule.max_steps is not None:
        return f"{schedule.total_steps:,} (--max-steps; {per_epoch}){resumed}"
    return f"{schedule.total_steps:,} ({plural(schedule.epochs, 'epoch')}, {per_epoch}){resumed}"


def _model(job: TrainJob, session: Session) -> str:
    parameters = sum(parameter.numel() for parameter in session.embedder.parameters())
    size = f"{parameters / 1e6:.1f}M parameters"
    if job.model == TINY:
        return (
            f"built-in, {size}, randomly initialized, with its own defaults of --lr, --batch-size and --epochs. "
            "To fine-tune a pretrained model, use for example --model BAAI/bge-base-zh-v1.5"
        )
    if job.tune.lora_rank:
        trained = sum(parameter.numel() for parameter in session.embedder.parameters() if parameter.requires_grad)
        size += f" ({trained / 1e6:.1f}M of them in LoRA adapters, which are trained)"
    return f"{display_path(job.model)}, {size}, {session.embedder.dimension} dimensions"

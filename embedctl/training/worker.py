"""One process of a run: `python -m embedctl.training.worker OUT/config.yaml`.

Accelerate starts it, or a cluster's scheduler; it reads everything it needs from that one file. A user's error is left
as OUT/error.rankN.json for the supervising process, a bug with its traceback beside it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":  # Ctrl-C while the imports below take their seconds: end without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from embedctl import console
from embedctl.config import TINY, TrainConfig, load
from embedctl.data.batches import BatchPlan
from embedctl.data.build import TextSettings, open_or_build
from embedctl.data.rows import read_rows
from embedctl.data.store import TrainingData
from embedctl.data.visits import BatchSettings
from embedctl.distributed.ranks import is_main, world_size
from embedctl.distributed.worker import run_worker
from embedctl.errors import TrainingError
from embedctl.evaluation.collections import Collection
from embedctl.losses.matryoshka import expect_dims
from embedctl.losses.select import losses_for
from embedctl.mining.store_miner import StoreMiner
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_sentence_transformer
from embedctl.resources import cache_folder
from embedctl.training import checkpoint, runtime
from embedctl.training.budget import memory_advice
from embedctl.training.checkpoint import Position
from embedctl.training.feeder import Feeder, Schedule
from embedctl.training.finish import Finish
from embedctl.training.job import TrainJob
from embedctl.training.loop import Loop
from embedctl.training.measure import History, Measure
from embedctl.training.monitor import METRICS_FILE, Monitor, keep_until
from embedctl.training.overview import show_overview
from embedctl.training.remine import Remine, forget_later
from embedctl.training.session import Session
from embedctl.training.step import Stepper


def run(job: TrainJob) -> None:
    """Train, measure and export.

    Raises:
        EmbedctlError: a user's mistake, or a stop by a signal.
    """
    here = runtime.join(job)
    console.configure(quiet=job.quiet or not is_main())
    embedder = load_model(job)
    text_settings = text_settings_of(job, embedder)
    files = [source.path for source in job.sources]
    data = open_or_build(files, embedder.tokenizer, text_settings, cache_folder("stores"))
    session = Session.prepare(embedder, here, job)
    start = resume(job, session)
    plan = plan_batches(job, data, start.batch_size)
    optim, evaluated = job.optim, job.data.eval_dataset
    schedule = Schedule(plan.steps_per_epoch, optim.gradient_accumulation_steps, optim.epochs, optim.max_steps)
    measure = Measure.of(session, Collection.from_rows(evaluated), text_settings, job.loss.mrl_dims) if evaluated else None
    if is_main():
        keep_until(job.folder / METRICS_FILE, start.step)
        forget_later(job.folder, schedule, start.step)
        show_overview(job, session, data, plan, schedule, start.step)
    monitor = Monitor(here.accelerator, job, start.step, schedule.total)
    remine = None
    if job.remine:
        remine = Remine(session, data.texts, StoreMiner.from_data(data), plan, schedule, job.remine, monitor, job.folder)
    feeder = Feeder(session, plan, data.texts, job.loss.in_batch, remine)
    stepper = Stepper(session, losses_for(job.loss), optim.seed)
    history = History(job.run.metric, start.evaluations)
    finish = Finish(job, session, data, history)
    loop = Loop(job, session, feeder, schedule, stepper, monitor, history, measure, finish)
    with memory_advice(session.budget, recomputes=job.tune.gradient_checkpointing):
        with contextlib.closing(monitor):
            if start.step == 0:
                loop.evaluate(0)
            done = loop.run(start.step)
        finish.export(done)


def load_model(job: TrainJob) -> Embedder:
    """The model to train, in float32, with the lengths and prompts of the run.

    Raises:
        ModelError: it can't be loaded.
        ConfigError: it has fewer dimensions than --mrl-dims names.
    """
    if job.model == TINY:
        from embedctl.model.tiny import build_tiny

        rows = (row for source in job.sources for row in read_rows(source.path))
        model = build_tiny((text for row in rows for text in (row.query, *row.pos, *row.neg)), job.optim.seed)
    else:
        model = load_sentence_transformer(job.model, trust_remote_code=job.trust_remote_code, pooling=job.tune.pooling)
    embedder = Embedder(model)
    model.max_seq_length = min(max(job.text.query_max_len, job.text.passage_max_len), embedder.position_limit)
    embedder.set_prompts(job.text.query_prompt, job.text.passage_prompt)
    embedder.append_normalize()
    expect_dims(job.loss.mrl_dims, embedder.dimension)
    return embedder


def text_settings_of(job: TrainJob, embedder: Embedder) -> TextSettings:
    """Lengths and prompts of the run; no text is longer than the model can take."""
    return TextSettings(
        min(job.text.query_max_len, embedder.max_len),
        min(job.text.passage_max_len, embedder.max_len),
        embedder.prompt_for("query"),
        embedder.prompt_for("passage"),
    )


def resume(job: TrainJob, session: Session) -> Position:
    """Take over the state that --resume means; the position of a new run without one. Called by all ranks."""
    state = checkpoint.find(job.run.resume, job.folder) if job.run.resume else None
    if state is None:
        return Position(0, job.optim.batch_size * world_size(), session.budget, [], world_size())
    tensors = session.state()
    position = checkpoint.load(state, tensors)
    session.restore(tensors)
    if position.world == world_size():
        session.budget = position.budget  # the same chunks, so the same bits
    console.info(f"resumed from {state}, after step {position.step}")
    if position.world != world_size():
        console.info(f"{world_size()} processes now, {position.world} before: the same data order, but rounding may differ")
    return position


def plan_batches(job: TrainJob, data: TrainingData, batch_size: int) -> BatchPlan:
    """The batches of the run, of `batch_size` queries over all ranks.

    Raises:
        TrainingError: the weights of --dataset leave no row.
    """
    settings = BatchSettings(
        batch_size=batch_size,
        neg_nums=job.data.neg_nums,
        seed=job.optim.seed,
        explode=job.data.positives == "explode",
        one_dataset_per_batch=job.data.one_dataset_per_batch,
        weights=tuple(source.weight for source in job.sources),
    )
    plan = BatchPlan(data.rows, settings)
    if plan.steps_per_epoch == 0:
        raise TrainingError("the weights of --dataset leave no row to visit", "raise them")
    return plan


def main(config_file: str) -> NoReturn:
    """Run the worker of a training run."""
    run_worker(Path(config_file).parent, lambda: run(TrainJob.of(load(TrainConfig, config_file))))


if __name__ == "__main__":
    main(sys.argv[1])

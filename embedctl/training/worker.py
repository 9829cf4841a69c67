"""One process of a run: `python -m embedctl.training.worker OUT/config.yaml`.

Accelerate starts it, or a cluster's scheduler; it reads everything it needs from that one file. A user's error is left
as OUT/error.rankN.json for the shim, a bug with its traceback beside it.
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
from embedctl.data.batches import BatchPlan, Mix
from embedctl.data.build import Recipe, open_or_build
from embedctl.data.formats import read_rows
from embedctl.data.sources import Source, parse_all
from embedctl.data.store import TrainingData
from embedctl.distributed.ranks import rank, world
from embedctl.distributed.worker import guarded
from embedctl.errors import TrainingError
from embedctl.evaluation.collections import Collection
from embedctl.losses.matryoshka import expect_dims
from embedctl.losses.select import losses_for
from embedctl.mining.store import StoreMiner
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_sentence_transformer
from embedctl.resources import cache_folder
from embedctl.training import checkpoint, runtime
from embedctl.training.budget import PROBES, memory_advice
from embedctl.training.feeder import Feeder, Schedule
from embedctl.training.finish import Finish
from embedctl.training.loop import History, Loop
from embedctl.training.measure import Measure
from embedctl.training.monitor import Monitor, keep_until
from embedctl.training.overview import show_overview
from embedctl.training.remine import Remine, forget_later
from embedctl.training.session import Session
from embedctl.training.step import Stepper


def run(config: TrainConfig) -> None:
    """Train, measure and export, as the configuration says.

    Raises:
        EmbedctlError: a user's mistake, or a stop by a signal.
    """
    folder = Path(config.run.output_dir)
    here = runtime.start(config)
    console.configure(quiet=config.quiet or not here.main)
    sources = parse_all(config.data.dataset)
    embedder = load_model(config, sources)
    data = open_or_build(
        [source.path for source in sources], embedder.tokenizer, recipe_of(config, embedder), cache_folder("stores")
    )
    with memory_advice(config.launch.tokens_per_forward or PROBES[-1], recomputes=config.tune.gradient_checkpointing):
        session = Session.prepare(embedder, config, here)
    state = checkpoint.find(config.run.resume, folder) if config.run.resume else None
    plan = plan_batches(config, sources, data, checkpoint.position(state) if state else {})
    optim = config.optim
    schedule = Schedule(plan.steps_per_epoch, optim.gradient_accumulation_steps, optim.epochs, optim.max_steps)
    measure = build_measure(config, session)
    history = History(config.run.metric)
    start = resume(session, state, history) if state else 0
    if here.main:
        keep_until(folder / "metrics.jsonl", start)
        forget_later(folder, schedule, start)
        show_overview(config, session, data, plan, schedule, start)
    monitor = Monitor(here, folder, config.run.log_with, config.model_dump(mode="json"), start, schedule.total)
    remine = None
    if config.remine.remine_every_epoch:
        miner = StoreMiner.of(data)
        remine = Remine(session, data.texts, miner, plan, schedule, config.remine, monitor, folder)
    finish = Finish(config, session, data, history, folder)
    loop = Loop(
        config=config,
        session=session,
        feeder=Feeder(session, plan, data.texts, config.loss.in_batch, remine),
        schedule=schedule,
        stepper=Stepper(session, losses_for(config.loss), optim.seed),
        monitor=monitor,
        history=history,
        measure=(lambda: measure(session)) if measure else None,
        keep_best=finish.keep_best,
        keep_epoch=finish.keep_epoch,
        folder=folder,
    )
    with memory_advice(session.budget, recomputes=config.tune.gradient_checkpointing):
        with contextlib.closing(monitor):
            if not history.entries and start == 0:
                loop.evaluate(0)
            done = loop.run(start)
        finish.export(done)


def load_model(config: TrainConfig, sources: list[Source]) -> Embedder:
    """The model to train, in float32, with the lengths and prompts of the run.

    Raises:
        ModelError: it can't be loaded.
        ConfigError: it has fewer dimensions than --mrl-dims names.
    """
    if config.model.model_name_or_path == TINY:
        from embedctl.model.tiny import build_tiny

        rows = (row for source in sources for row in read_rows(source.path))
        model = build_tiny((text for row in rows for text in (row.query, *row.pos, *row.neg)), config.optim.seed)
    else:
        model = load_sentence_transformer(
            config.model.model_name_or_path,
            trust_remote_code=config.model.trust_remote_code,
            pooling=config.tune.pooling,
        )
    embedder = Embedder(model)
    model.max_seq_length = min(max(config.text.query_max_len, config.text.passage_max_len), embedder.position_limit)
    embedder.set_prompts(config.text.query_prompt, config.text.passage_prompt)
    embedder.append_normalize()
    expect_dims(config.loss.mrl_dims, embedder.dimension)
    return embedder


def recipe_of(config: TrainConfig, embedder: Embedder) -> Recipe:
    """Lengths and prompts of the run; no text is longer than the model can take."""
    limit = embedder.max_len
    return Recipe(
        min(config.text.query_max_len, limit),
        min(config.text.passage_max_len, limit),
        embedder.own_prompt("query"),
        embedder.own_prompt("document", "passage", "corpus"),
    )


def plan_batches(config: TrainConfig, sources: list[Source], data: TrainingData, position: dict[str, int]) -> BatchPlan:
    """The batches of the run; a resumed one keeps its batch over all ranks, however many there are now."""
    size = position.get("batch_size", config.optim.batch_size * world())
    mixture = Mix(
        batch_size=size,
        neg_nums=config.data.neg_nums,
        seed=config.optim.seed,
        explode=config.data.positives == "explode",
        one_dataset_per_batch=config.data.one_dataset_per_batch,
        weights=tuple(source.weight for source in sources),
    )
    plan = BatchPlan(data.rows, mixture)
    if plan.steps_per_epoch == 0:
        raise TrainingError("the weights of --dataset leave no row to visit", "raise them")
    return plan


def build_measure(config: TrainConfig, session: Session) -> Measure | None:
    """What is measured during the run; None without evaluation rows."""
    if not config.data.eval_dataset:
        return None
    collection = Collection.from_rows(config.data.eval_dataset)
    return Measure.of(collection, session.embedder, session.budget, config.loss.mrl_dims)


def resume(session: Session, state: Path, history: History) -> int:
    """Take over a state; returns the updates that it has behind it. Called by all ranks."""
    tensors = session.state()
    position = checkpoint.load(state, tensors)
    session.restore(tensors)
    if position["world"] == world():
        session.budget = position["budget"]  # the same chunks, so the same bits
    history.entries.extend(position["evaluations"])
    if rank() == 0:
        console.say(f"resumed from {state}, after step {position['step']}")
        if position["world"] != world():
            console.say(
                f"{world()} processes now, {position['world']} before: the same data order, but rounding may differ"
            )
    return int(position["step"])


def main(config_file: str) -> NoReturn:
    """Run the worker of a training run."""
    guarded(Path(config_file).parent, lambda: run(load(TrainConfig, config_file)))


if __name__ == "__main__":
    main(sys.argv[1])

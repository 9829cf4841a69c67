"""One process of a training run: `python -m embedctl.training.worker OUT/config.yaml`.

It is started by accelerate or by a cluster's scheduler, and reads all settings from that file. An error is written to
OUT/error.rankN.json for the supervisor; the traceback of a bug is written beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":  # Ctrl-C during the imports below, which take seconds, ends without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from embedctl import console
from embedctl.config import TINY, TrainConfig, load
from embedctl.data.batches import BatchPlan
from embedctl.data.build import open_or_build
from embedctl.data.rows import RowKind, read_rows
from embedctl.data.store import TrainingData
from embedctl.data.visits import BatchSettings
from embedctl.distributed.ranks import is_main, world_size
from embedctl.distributed.worker import LAUNCHER_PID, config_file_argument, run_worker
from embedctl.errors import ConfigError, TrainingError
from embedctl.evaluation.collections import Collection
from embedctl.losses.matryoshka import check_dims
from embedctl.losses.select import check_options, losses_for
from embedctl.mining.store_miner import StoreMiner
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_sentence_transformer
from embedctl.model.pooling import pooling_modes
from embedctl.outputs import lock
from embedctl.resources import private_cache
from embedctl.run_folder import RunFolder
from embedctl.tokens.text_settings import TextSettings
from embedctl.training import checkpoint
from embedctl.training.base_model import append_normalize, check_layers, check_rows, with_lengths
from embedctl.training.batch_loader import BatchLoader, Schedule
from embedctl.training.budget import explain_out_of_memory
from embedctl.training.checkpoint import Progress
from embedctl.training.evaluator import EvaluationHistory, Evaluator
from embedctl.training.export import Samples
from embedctl.training.gradcache import GradCache
from embedctl.training.job import TrainJob
from embedctl.training.loop import Loop
from embedctl.training.monitor import METRICS_FILE, Monitor, remove_metrics_after
from embedctl.training.overview import show_overview
from embedctl.training.remine import EpochMiner, remove_negatives_after
from embedctl.training.resuming import check_unchanged
from embedctl.training.runtime import init_runtime
from embedctl.training.saver import ModelSaver
from embedctl.training.session import Session
from embedctl.training.targets import any_negatives

NO_NEGATIVES_HINT = "add negatives with `embedctl mine-negatives`, raise --batch-size, or use --in-batch all"
WORKER_HINT = "`embedctl train --dry-run` writes such a file and prints the command that starts all workers"
SAMPLE_ROWS = 8  # rows whose texts are encoded to compare the saved model with the model in training


def run(job: TrainJob, *, new_config: Path | None = None) -> None:
    """Train, evaluate and save the model.

    With `new_config`, an earlier run in the output folder is removed after all inputs are read and checked, and this
    file becomes the configuration in the folder.
    """
    runtime = init_runtime(job)
    console.configure(quiet=job.quiet or not is_main())
    job, embedder = load_model(job)
    sample_rows = list(islice(read_rows(job.sources[0].path), SAMPLE_ROWS))
    samples = Samples([row.query for row in sample_rows], [row.pos[0] for row in sample_rows])
    text_settings = text_settings_of(job, embedder)
    files = [source.path for source in job.sources]
    data = open_or_build(files, embedder.tokenizer, text_settings, private_cache("stores"))
    check_rows(job, embedder, data)
    check_options(job.loss, {RowKind(kind) for kind in data.facts["kinds"]})
    session = Session.prepare(embedder, runtime, job)
    start = resume(job, session)
    plan = plan_batches(job, data, start.batch_size)
    optim, eval_dataset = job.optim, job.data.eval_dataset
    schedule = Schedule(plan.batches_per_epoch, optim.gradient_accumulation_steps, optim.epochs, optim.max_steps)
    evaluator = None
    if eval_dataset:
        collection = Collection.from_rows(eval_dataset)
        evaluator = Evaluator.for_collection(session, collection, text_settings, job.loss.mrl_dims)
    if is_main():
        if new_config:
            RunFolder(job.folder).start_next(new_config)
        remove_metrics_after(job.folder / METRICS_FILE, start.step)
        remove_negatives_after(job.folder, schedule, start.step)
        show_overview(job, session, data, plan, schedule, start.step)
    monitor = Monitor(runtime.accelerator, job, start.step, schedule.total_steps)
    miner = None
    if job.remine:
        store_miner = StoreMiner.from_data(data)
        miner = EpochMiner(session, data.texts, store_miner, plan, schedule, job.remine, monitor, job.folder)
    loader = BatchLoader(session, plan, data.texts, job.loss.in_batch, miner)
    add_gradient = GradCache(session, losses_for(job.loss), optim.seed)
    history = EvaluationHistory(job.run.metric, start.evaluations)
    saver = ModelSaver(job, session, data, history, samples)
    loop = Loop(job, session, loader, schedule, add_gradient, monitor, history, evaluator, saver)
    with explain_out_of_memory(session.budget, gradient_checkpointing=job.tune.gradient_checkpointing):
        with contextlib.closing(monitor):
            if start.step == 0:
                loop.evaluate(0)
            done = loop.run(start.step)
        saver.save_final(done)


def load_model(job: TrainJob) -> tuple[TrainJob, Embedder]:
    """Load the base model in float32 and set the prompts of the run.

    Return the job with the maximum lengths of queries and passages, which depend on the model, and the model. The
    model keeps its own maximum length, which evaluation uses too, unless a longer one is given.

    Raises:
        ModelError: it cannot be loaded.
        ConfigError: --pooling is not that of the model, a maximum length is above its positions, a value of --mrl-dims
            is larger than its number of dimensions, or it has no layers of a class of --fsdp-layers.
    """
    if job.model == TINY:
        from embedctl.model.tiny import build_tiny

        rows = (row for source in job.sources for row in read_rows(source.path))
        model = build_tiny((text for row in rows for text in (row.query, *row.pos, *row.neg)), job.optim.seed)
    else:
        model = load_sentence_transformer(job.model, trust_remote_code=job.trust_remote_code, pooling=job.tune.pooling)
    check_pooling(job, model)
    embedder = Embedder(model).eval()
    if job.model != TINY:
        embedder.compare_with_own_forward(job.model)
    job = with_lengths(job, model)
    embedder.set_prompts(job.text.query_prompt, job.text.passage_prompt)
    if embedder.excludes_prompt and not embedder.uses_own_forward and any(embedder.prompts.values()):
        embedder.use_own_forward(job.model, "the pooling of the model leaves out the tokens of the prompt")
    append_normalize(job, embedder)
    check_dims(job.loss.mrl_dims, embedder.dimension)
    check_layers(job, embedder)
    return job, embedder


def check_pooling(job: TrainJob, model: Any) -> None:
    """Raise a ConfigError if --pooling differs from the pooling that the model brings."""
    own = [mode for module in model if hasattr(module, "pooling_mode") for mode in pooling_modes(module)]
    if job.tune.pooling and own != [job.tune.pooling]:
        message = f"--pooling {job.tune.pooling}: the model {job.model} has its own pooling: {', '.join(own) or 'none'}"
        raise ConfigError(message, "remove --pooling; it is only for models without a pooling of their own")


def text_settings_of(job: TrainJob, embedder: Embedder) -> TextSettings:
    """Return the maximum lengths and the prompts of the run."""
    return TextSettings(
        query_max_len=job.text.query_max_len,
        passage_max_len=job.text.passage_max_len,
        query_prompt=embedder.prompt_for("query"),
        passage_prompt=embedder.prompt_for("passage"),
        marks_prompts=embedder.uses_own_forward,
    )


def resume(job: TrainJob, session: Session) -> Progress:
    """Load the checkpoint of --resume and return its progress; step 0 without one. Called by all ranks.

    Raises:
        ConfigError: the job differs from the checkpoint in a setting that a resumed run must not change.
    """
    path = checkpoint.find(job.run.resume, job.folder) if job.run.resume else None
    if path is None:
        return Progress(0, job.optim.batch_size * world_size(), session.budget, [], world_size(), job.fixed_settings)
    state = session.state_dict()
    progress = checkpoint.load(path, state)
    check_unchanged(progress.settings, job.fixed_settings)
    session.load_state_dict(state)
    console.info(f"resumed from {path}, after step {progress.step}")
    if progress.world_size == world_size():
        session.budget = progress.budget  # other chunks would give other rounding errors
    else:
        change = f"the number of processes changed from {progress.world_size} to {world_size()}"
        console.info(f"{change}: the order of the data is the same, but results can differ by rounding errors")
    return progress


def plan_batches(job: TrainJob, data: TrainingData, batch_size: int) -> BatchPlan:
    """Return the plan of the run's batches, of `batch_size` queries over all ranks.

    Raises:
        TrainingError: the weights of --dataset are so small that an epoch has no rows, or no query has a negative.
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
    if plan.batches_per_epoch == 0:
        raise TrainingError("--dataset: with these weights, an epoch has no rows", "use higher weights, FILE:WEIGHT")
    if not job.remine and not any_negatives(plan, job.loss.in_batch):
        message = "no query of any batch has a negative: the loss is 0 and the model learns nothing"
        raise TrainingError(message, NO_NEGATIVES_HINT)
    return plan


def main(config_file: str) -> NoReturn:
    """Run a worker and end the process."""
    folder = Path(config_file).parent

    def _work() -> None:
        job = TrainJob.from_config(load(TrainConfig, config_file))
        run_folder = RunFolder(job.folder)
        if LAUNCHER_PID not in os.environ and os.environ.get("RANK", "0") == "0":
            lock(run_folder.output)  # a scheduler started this worker without the command
        elsewhere = folder.resolve() != job.folder.resolve()  # an earlier run in the output folder is complete
        replaces = elsewhere and job.run.resume is None and run_folder.is_run
        run(job, new_config=Path(config_file) if replaces else None)

    run_worker(folder, _work)


if __name__ == "__main__":
    main(config_file_argument("embedctl.training.worker", WORKER_HINT))

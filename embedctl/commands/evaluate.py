"""`embedctl eval`: retrieval metrics of a model, alone or beside a baseline."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import with_options
from embedctl.config import EvalConfig
from embedctl.errors import CheckFailed, DataError
from embedctl.evaluation.names import expect_metric
from embedctl.resources import example_data

if TYPE_CHECKING:
    from embedctl.evaluation.job import EvalJob, Evaluation

EXAMPLE = "Example: embedctl eval --ckpt out --baseline BAAI/bge-base-zh-v1.5 --dataset eval.jsonl"
RECORD = "embedctl.json"
EXAMPLE_COLLECTION = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")


@with_options(EvalConfig)
def command(config: EvalConfig) -> None:
    """Measure how well a model retrieves."""
    expect_metric(config.metric)
    job = job_of(config)
    from embedctl.evaluation.job import evaluate, show

    found = evaluate(job)
    show(job, found, config.metric)
    if config.json_output:
        console.result(document(job, found))
    elif config.quiet:
        print("\n".join(f"{name}\t{value:.6f}" for name, value in found.metrics.items()))
    if config.min is not None and found.metrics[config.metric] < config.min:
        raise CheckFailed(f"{config.metric} {found.metrics[config.metric]:.4f} is under --min {config.min}")


def job_of(config: EvalConfig) -> EvalJob:
    """The job that a configuration describes.

    Raises:
        DataError: the evaluation rows that a run recorded are no longer there.
        ModelError: no model is named, and no run in this folder left one.
    """
    from embedctl.evaluation.job import EvalJob

    model = checkpoint_of(config.model.model_name_or_path)
    rows, beir, source = data_of(config, model)
    return EvalJob(
        model=model,
        baseline=config.baseline,
        trust_remote_code=config.model.trust_remote_code,
        device=config.device,
        rows=rows,
        beir=beir,
        source=source,
        query_prompt=config.query_prompt,
        passage_prompt=config.passage_prompt,
        dim=config.dim,
    )


def data_of(config: EvalConfig, model: str) -> tuple[tuple[str, ...], tuple[str, str, str] | None, str]:
    """What is evaluated on: files of rows, or BEIR's three files, and its name.

    Raises:
        DataError: the evaluation rows that a run recorded are no longer there.
    """
    if config.corpus and config.queries and config.qrels:
        return (), (config.corpus, config.queries, config.qrels), config.corpus
    rows = config.dataset
    if not rows and (rows := recorded_dataset(model)):
        console.info("no data given: using the evaluation rows that the run recorded")
    if rows:
        return rows, None, ", ".join(rows)
    console.info("no data given, and none recorded: using the example collection shipped with embedctl")
    corpus, queries, qrels = (str(example_data(name)) for name in EXAMPLE_COLLECTION)
    return (), (corpus, queries, qrels), "example collection"


def recorded_dataset(checkpoint: str) -> tuple[str, ...]:
    """The evaluation rows that a run wrote down in its output folder; none if it had none.

    Raises:
        DataError: they are no longer there, or the record is damaged.
    """
    path = Path(checkpoint) / RECORD
    other = "give --dataset FILE, or --corpus, --queries and --qrels"
    try:
        files = tuple(json.loads(path.read_text(encoding="utf-8")).get("eval_dataset", []))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except json.JSONDecodeError as cause:
        raise DataError(f"{path}:{cause.lineno}: line: not JSON: {cause.msg}", other) from None
    gone = [name for name in files if not Path(name).is_file()]
    if gone:
        raise DataError(f"{gone[0]}: the run's evaluation rows are no longer there", other)
    return files


def document(job: EvalJob, found: Evaluation) -> dict[str, Any]:
    """What `--json` prints."""
    facts = {"model": job.model, "data": job.source, "queries": found.queries, "documents": found.documents}
    facts |= {"metrics": found.metrics}
    if found.baseline is None:
        return facts
    difference = {name: asdict(one) | {"verdict": one.verdict} for name, one in found.difference.items()}
    return facts | {"baseline": {"model": job.baseline, "metrics": found.baseline}, "difference": difference}

"""`embedctl eval`: compute retrieval metrics of a model, and compare it with a baseline if one is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.default_model import model_or_default
from embedctl.commands.flags import with_options
from embedctl.config import EvalConfig
from embedctl.errors import CheckFailed, DataError
from embedctl.evaluation.names import check_metric
from embedctl.resources import example_data

if TYPE_CHECKING:
    from embedctl.evaluation.job import EvalJob, Evaluation

EXAMPLES = r"""
# Evaluate the model in ./out on the evaluation rows of its training run.
embedctl eval

# Compare a fine-tuned model with its base model.
embedctl eval --model tuned --baseline BAAI/bge-base-zh-v1.5 \
    --dataset eval.jsonl

# Exit with code 1 if nDCG@10 is below 0.5, for example in CI.
embedctl eval --model tuned --dataset eval.jsonl --min 0.5
"""
RUN_RECORD = "embedctl.json"  # a training run lists its evaluation files there
EXAMPLE_COLLECTION = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")


@with_options(EvalConfig)
def command(config: EvalConfig) -> None:
    """Measure how well a model retrieves the passages that answer queries.

    The input is a model and evaluation rows, or a collection in BEIR format. The output is a table with nDCG@10,
    MRR@10, Recall and MAP; with --baseline, it compares two models.
    """
    check_metric(config.metric)
    job = build_job(config)
    from embedctl.evaluation.job import evaluate, show_evaluation

    evaluation = evaluate(job)
    show_evaluation(job, evaluation, config.metric, is_result=not (config.json_output or config.quiet))
    if config.json_output:
        console.result(json_result(job, evaluation))
    elif config.quiet:
        console.output("\n".join(f"{name}\t{value:.6f}" for name, value in evaluation.metrics.items()))
    value = evaluation.metrics[config.metric]
    if config.min is not None and value < config.min:
        raise CheckFailed(f"{config.metric} is {value:.4f}, below --min {config.min}")


def build_job(config: EvalConfig) -> EvalJob:
    """Return the evaluation job of a configuration, with the default model and data where none are given."""
    from embedctl.evaluation.job import EvalJob

    model = model_or_default(config.model.model_name_or_path)
    rows, beir, source = select_data(config, model)
    return EvalJob(
        model=model,
        baseline=config.baseline,
        trust_remote_code=config.model.trust_remote_code,
        device=config.device,
        rows=rows,
        beir=beir,
        allow_missing=config.allow_missing,
        source=source,
        query_prompt=config.query_prompt,
        passage_prompt=config.passage_prompt,
        dim=config.dim,
    )


def select_data(config: EvalConfig, model: str) -> tuple[tuple[str, ...], tuple[str, str, str] | None, str]:
    """Select the evaluation data: the given files, those that the training run recorded, or the example collection.

    Return the files of rows, or the corpus, queries and qrels files in BEIR's format; and a name for messages.
    """
    if config.corpus and config.queries and config.qrels:
        return (), (config.corpus, config.queries, config.qrels), config.corpus
    rows = config.dataset
    if not rows and (rows := recorded_dataset(model)):
        console.info("no --dataset given; evaluating on the evaluation files of the model's training run")
    if rows:
        return rows, None, ", ".join(rows)
    console.info("no --dataset given; evaluating on the example collection shipped with embedctl")
    corpus, queries, qrels = (str(example_data(name)) for name in EXAMPLE_COLLECTION)
    return (), (corpus, queries, qrels), "example collection"


def recorded_dataset(model: str) -> tuple[str, ...]:
    """Return the evaluation files that a training run recorded in the model folder, or an empty tuple.

    Raises:
        DataError: a recorded file no longer exists, or the record is not JSON.
    """
    path = Path(model) / RUN_RECORD
    hint = "give --dataset FILE, or --corpus, --queries and --qrels"
    try:
        files = tuple(json.loads(path.read_text(encoding="utf-8")).get("eval_dataset", []))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except json.JSONDecodeError as cause:
        raise DataError(f"{path}:{cause.lineno}: line: not JSON: {cause.msg}", hint) from None
    missing = [name for name in files if not Path(name).is_file()]
    if missing:
        raise DataError(f"{missing[0]}: this evaluation file of the training run no longer exists", hint)
    return files


def json_result(job: EvalJob, evaluation: Evaluation) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    result = {"model": job.model, "data": job.source, "queries": evaluation.queries}
    result |= {"documents": evaluation.documents, "metrics": evaluation.metrics}
    if evaluation.baseline is None:
        return result
    baseline = {"model": job.baseline, "metrics": evaluation.baseline}
    difference = {
        name: {"difference": one.difference, "low": one.low, "high": one.high}
        | {"won": one.better, "lost": one.worse, "tied": one.equal, "verdict": one.verdict}
        for name, one in evaluation.difference.items()
    }
    return result | {"baseline": baseline, "difference": difference}

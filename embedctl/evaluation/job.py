"""One evaluation job: its settings, its result, and the tables that are printed."""

from __future__ import annotations

from dataclasses import dataclass

from embedctl import console
from embedctl.console import plural
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.compare import Comparison, compare
from embedctl.evaluation.metrics import PerQuery, evaluate_embedder, means
from embedctl.model.embedder import Embedder
from embedctl.resources import display_path


@dataclass(frozen=True)
class EvalJob:
    """Settings of an evaluation."""

    model: str  # folder or Hugging Face Hub name
    baseline: str | None  # folder or Hugging Face Hub name of a second model to compare with; None for none
    trust_remote_code: bool  # whether code that is shipped with a model may run
    device: str | None  # a torch device; None for the GPU if there is one, else the CPU
    rows: tuple[str, ...]  # files of rows whose texts are the collection
    beir: tuple[str, str, str] | None  # if there are no rows: files of corpus, queries and qrels in BEIR's format
    source: str  # name of the collection in messages and `--json`
    query_prompt: str | None  # prompt of queries without their own; None for the model's own
    passage_prompt: str | None  # prompt of documents; None for the model's own
    dim: int | None  # number of leading dimensions to evaluate; None for all


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation."""

    queries: int  # number of queries
    documents: int  # number of documents in the corpus
    metrics: dict[str, float]  # metrics of the model
    baseline: dict[str, float] | None  # metrics of the baseline, if there is one
    difference: dict[str, Comparison]  # per metric, the model compared with the baseline


def evaluate(job: EvalJob) -> Evaluation:
    """Evaluate the model, and the baseline if there is one.

    Raises:
        DataError: a file is missing or invalid.
        ModelError: a model cannot be loaded, or has fewer dimensions than `dim`.
    """
    collection = Collection.from_beir(*job.beir) if job.beir else Collection.from_rows(job.rows)
    for note in collection.notes:
        console.info(note)
    values = evaluate_model(job, job.model, collection)
    baseline_values = evaluate_model(job, job.baseline, collection) if job.baseline else {}
    return Evaluation(
        len(collection.queries),
        len(collection.corpus),
        means(values),
        means(baseline_values) if baseline_values else None,
        {name: compare(values[name], baseline) for name, baseline in baseline_values.items()},
    )


def evaluate_model(job: EvalJob, model: str, collection: Collection) -> PerQuery:
    """Load a model and return its metrics per query.

    Raises:
        ModelError: the model cannot be loaded, or has fewer dimensions than `dim`.
    """
    embedder = Embedder.from_pretrained(model, device=job.device, trust_remote_code=job.trust_remote_code)
    return evaluate_embedder(
        embedder,
        collection,
        query_prompt=job.query_prompt,
        passage_prompt=job.passage_prompt,
        dim=job.dim,
        show_progress=True,
    )


def show(job: EvalJob, result: Evaluation, metric: str) -> None:
    """Print the table of metrics and, with a baseline, a sentence about the difference in `metric`."""
    counts = f"{plural(result.queries, 'query', 'queries')}, {plural(result.documents, 'document')}"
    title = f"{job.model}: {counts} ({display_path(job.source)})"
    if result.baseline is None:
        show_metrics(title, result.metrics)
    else:
        show_comparison(f"{title}\nbaseline: {job.baseline}", result.metrics, result.baseline, result.difference)
        console.info(verdict_sentence(metric, result.difference[metric]))


def show_metrics(title: str, metrics: dict[str, float]) -> None:
    """Print the metrics of one model."""
    console.table(title, ["metric", "value"], [[name, f"{value:.4f}"] for name, value in metrics.items()])


def show_comparison(
    title: str, metrics: dict[str, float], baseline: dict[str, float], comparisons: dict[str, Comparison]
) -> None:
    """Print the metrics of a model and of a baseline, with the differences and their confidence intervals."""
    columns = [
        "metric",
        "model",
        "baseline",
        "difference",
        "95 % confidence\ninterval",
        "queries\nbetter/\nworse/equal",
    ]
    rows = [
        [
            name,
            f"{value:.4f}",
            f"{baseline[name]:.4f}",
            f"{comparisons[name].difference:+.4f}",
            f"{comparisons[name].low:+.3f} to {comparisons[name].high:+.3f}",
            f"{comparisons[name].won}/{comparisons[name].lost}/{comparisons[name].tied}",
        ]
        for name, value in metrics.items()
    ]
    console.table(title, columns, rows)


def verdict_sentence(metric: str, comparison: Comparison) -> str:
    """Return one sentence about the result of a comparison."""
    sentences = {
        "better": "the model is better than the baseline",
        "worse": "the model is worse than the baseline",
        "no clear difference": "no significant difference; the confidence interval of the difference contains 0",
    }
    return f"{metric}: {sentences[comparison.verdict]}"

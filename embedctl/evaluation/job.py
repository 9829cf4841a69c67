"""One evaluation job: its settings, its result, and the tables that are printed."""

from __future__ import annotations

from dataclasses import dataclass

from embedctl import console
from embedctl.console import plural
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.compare import Comparison, compare
from embedctl.evaluation.metrics import PerQuery, evaluate_embedder, means
from embedctl.model.embedder import Embedder
from embedctl.model.similarity import COSINE
from embedctl.resources import display_path

INTERVAL, COUNTS = "95% confidence\ninterval", "queries\nbetter/\nworse/equal"
COMPARISON_COLUMNS = ["metric", "model", "baseline", "difference", INTERVAL, COUNTS]
VERDICTS = {
    "better": "the model is better than the baseline",
    "worse": "the model is worse than the baseline",
    "no clear difference": "no significant difference; the confidence interval of the difference contains 0",
}


@dataclass(frozen=True)
class EvalJob:
    """Settings of an evaluation."""

    model: str  # folder or Hugging Face Hub name
    baseline: str | None  # folder or Hugging Face Hub name of a second model to compare with; None for none
    trust_remote_code: bool  # whether code that is shipped with a model may run
    device: str | None  # a torch device; None for the GPU if there is one, else the CPU
    rows: tuple[str, ...]  # files of rows whose texts are the collection
    beir: tuple[str, str, str] | None  # if there are no rows: files of corpus, queries and qrels in BEIR's format
    allow_missing: bool  # whether relevant documents that are not in BEIR's corpus count as not found
    source: str  # name of the collection in messages and `--json`
    query_prompt: str | None  # prompt of queries without their own; None for the model's own
    passage_prompt: str | None  # prompt of documents; None for the model's own
    dim: int | None  # number of leading dimensions to evaluate; None for all


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation."""

    queries: int
    documents: int  # number of documents in the corpus
    metrics: dict[str, float]  # metrics of the model
    baseline: dict[str, float] | None  # metrics of the baseline, if there is one
    difference: dict[str, Comparison]  # per metric, the model compared with the baseline


def evaluate(job: EvalJob) -> Evaluation:
    """Evaluate the model, and the baseline if there is one.

    Raises:
        DataError: a file is missing or invalid.
        ConfigError: a model has fewer than `dim` dimensions.
        ModelError: a model cannot be loaded.
    """
    if job.beir:
        collection = Collection.from_beir(*job.beir, allow_missing=job.allow_missing)
    else:
        collection = Collection.from_rows(job.rows)
    for note in collection.notes:
        console.info(note)
    values = evaluate_model(job, job.model, collection)
    baseline_values = evaluate_model(job, job.baseline, collection) if job.baseline else {}
    difference = {name: compare(values[name], baseline) for name, baseline in baseline_values.items()}
    baseline_means = means(baseline_values) if baseline_values else None
    return Evaluation(len(collection.queries), len(collection.corpus), means(values), baseline_means, difference)


def evaluate_model(job: EvalJob, model: str, collection: Collection) -> PerQuery:
    """Load a model and return its metrics per query.

    Raises:
        ConfigError: the model has fewer than `dim` dimensions.
        ModelError: the model cannot be loaded.
    """
    embedder = Embedder.from_pretrained(model, device=job.device, trust_remote_code=job.trust_remote_code)
    if embedder.similarity is not COSINE:
        console.info(f"{model}: documents are ranked by the model's similarity function, {embedder.similarity.name}")
    return evaluate_embedder(
        embedder, collection, query_prompt=job.query_prompt, passage_prompt=job.passage_prompt, dim=job.dim
    )


def show_evaluation(job: EvalJob, result: Evaluation, metric: str, *, is_result: bool = True) -> None:
    """Print the table of metrics and, with a baseline, a sentence about the difference in `metric`.

    The table is printed to stdout or, if `is_result` is False, to stderr.
    """
    counts = f"{plural(result.queries, 'query', 'queries')}, {plural(result.documents, 'document')}"
    title = f"{job.model}: {counts} ({display_path(job.source)})"
    rows = [[name, f"{value:.4f}"] for name, value in result.metrics.items()]
    if result.baseline is None:
        console.table(title, ["metric", "value"], rows, is_result=is_result)
        return
    for row, baseline, comparison in zip(rows, result.baseline.values(), result.difference.values(), strict=True):
        row += [f"{baseline:.4f}", f"{comparison.difference:+.4f}"]
        row += [f"{comparison.low:+.3f} to {comparison.high:+.3f}"]
        row += [f"{comparison.better}/{comparison.worse}/{comparison.equal}"]
    console.table(f"{title}\nbaseline: {job.baseline}", COMPARISON_COLUMNS, rows, is_result=is_result)
    console.info(f"{metric}: {VERDICTS[result.difference[metric].verdict]}")

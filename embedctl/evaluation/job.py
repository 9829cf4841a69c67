"""One job of evaluation: a model, alone or beside a baseline, on one collection; and the tables of what it found."""

from __future__ import annotations

from dataclasses import dataclass

from embedctl import console
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.compare import Comparison, compare
from embedctl.evaluation.metrics import PerQuery, means, measure_embedder
from embedctl.model.embedder import Embedder
from embedctl.resources import shown


@dataclass(frozen=True)
class EvalJob:
    """What is measured, and on what."""

    model: str  # a folder or a hub name
    baseline: str | None  # a second model, measured beside it, or None
    trust_remote_code: bool  # whether code that comes with a model may run
    device: str | None  # as torch names it; the GPU where there is one if None
    rows: tuple[str, ...]  # files of rows whose texts are the collection
    beir: tuple[str, str, str] | None  # where there are no rows, corpus, queries and qrels in BEIR's format
    source: str  # what messages and `--json` call the collection
    query_prompt: str | None  # prepended to queries without one of their own; the model's own if None
    passage_prompt: str | None  # prepended to passages; the model's own if None
    dim: int | None  # leading dimensions to keep, or None


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    queries: int  # how many there are
    documents: int  # in the corpus
    metrics: dict[str, float]  # each metric of the model
    baseline: dict[str, float] | None  # each metric of the baseline, if there is one
    difference: dict[str, Comparison]  # each metric of the model compared with the baseline's


def evaluate(job: EvalJob) -> Evaluation:
    """Measure the model and, if there is one, the baseline.

    Raises:
        DataError: a file is missing or wrong.
        ModelError: a model can't be loaded, or has fewer dimensions than asked for.
    """
    collection = Collection.from_beir(*job.beir) if job.beir else Collection.from_rows(job.rows)
    for note in collection.notes:
        console.info(note)
    values = measure(job, job.model, collection)
    theirs = measure(job, job.baseline, collection) if job.baseline else None
    return Evaluation(
        len(collection.queries),
        len(collection.corpus),
        means(values),
        means(theirs) if theirs else None,
        {name: compare(values[name], of) for name, of in theirs.items()} if theirs else {},
    )


def measure(job: EvalJob, model: str, collection: Collection) -> PerQuery:
    """Each metric of each query for a model.

    Raises:
        ModelError: the model can't be loaded, or has fewer dimensions than asked for.
    """
    embedder = Embedder.from_pretrained(model, device=job.device, trust_remote_code=job.trust_remote_code)
    return measure_embedder(
        embedder,
        collection,
        query_prompt=job.query_prompt,
        passage_prompt=job.passage_prompt,
        dim=job.dim,
        show_progress=True,
    )


def show(job: EvalJob, found: Evaluation, metric: str) -> None:
    """Draw what was measured; beside a baseline, say what `metric` shows."""
    title = f"{job.model}: {found.queries:,} queries, {found.documents:,} documents ({shown(job.source)})"
    if found.baseline is None:
        show_alone(title, found.metrics)
    else:
        show_beside(f"{title}\nbaseline: {job.baseline}", found.metrics, found.baseline, found.difference)
        console.info(verdict(metric, found.difference[metric]))


def show_alone(title: str, metrics: dict[str, float]) -> None:
    """One model's metrics."""
    console.table(title, ["metric", "value"], [[name, f"{value:.4f}"] for name, value in metrics.items()])


def show_beside(
    title: str, metrics: dict[str, float], baseline: dict[str, float], found: dict[str, Comparison]
) -> None:
    """A model beside a baseline: both values, the difference with its 95 % interval, and on how many queries."""
    columns = ["metric", "model", "baseline", "change", "95 % interval", "won/lost/tied"]
    rows = [
        [
            name,
            f"{value:.4f}",
            f"{baseline[name]:.4f}",
            f"{found[name].difference:+.4f}",
            f"{found[name].low:+.3f} to {found[name].high:+.3f}",
            f"{found[name].won}/{found[name].lost}/{found[name].tied}",
        ]
        for name, value in metrics.items()
    ]
    console.table(title, columns, rows)


def verdict(metric: str, found: Comparison) -> str:
    """One sentence on what the comparison shows."""
    words = {
        "better": "the model is better than the baseline",
        "worse": "the model is worse than the baseline",
        "no clear difference": "chance could explain the difference: its interval holds 0",
    }
    return f"{metric}: {words[found.verdict]}"

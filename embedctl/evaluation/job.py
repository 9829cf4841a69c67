"""One job of evaluation: a model, alone or beside a baseline, on one collection."""

from __future__ import annotations

from dataclasses import dataclass

from embedctl import console
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.compare import Comparison, compare
from embedctl.evaluation.metrics import PerQuery, means, measure_embedder
from embedctl.model.embedder import Embedder


@dataclass(frozen=True)
class EvalJob:
    """What is measured, and on what.

    Args:
        model: a folder or a hub name.
        baseline: a second model, measured beside it, or None.
        trust_remote_code: whether code that comes with a model may run.
        device: as torch names it; the GPU where there is one if None.
        rows: files of rows whose texts are the collection.
        beir: where there are no rows, corpus, queries and qrels in BEIR's format.
        source: what messages and `--json` call the collection.
        query_prompt: prepended to queries without one of their own; the model's own if None.
        passage_prompt: prepended to passages; the model's own if None.
        dim: leading dimensions to keep, or None.
    """

    model: str
    baseline: str | None
    trust_remote_code: bool
    device: str | None
    rows: tuple[str, ...]
    beir: tuple[str, str, str] | None
    source: str
    query_prompt: str | None
    passage_prompt: str | None
    dim: int | None


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        queries: how many there are.
        documents: in the corpus.
        metrics: each metric of the model.
        baseline: each metric of the baseline, if there is one.
        difference: each metric of the model compared with the baseline's.
    """

    queries: int
    documents: int
    metrics: dict[str, float]
    baseline: dict[str, float] | None
    difference: dict[str, Comparison]


def evaluate(job: EvalJob) -> Evaluation:
    """Measure the model and, if there is one, the baseline.

    Raises:
        DataError: a file is missing or wrong.
        ModelError: a model can't be loaded, or has fewer dimensions than asked for.
    """
    collection = read(job)
    values = measure(job, job.model, collection)
    theirs = measure(job, job.baseline, collection) if job.baseline else None
    return Evaluation(
        len(collection.queries),
        len(collection.corpus),
        means(values),
        means(theirs) if theirs else None,
        {name: compare(values[name], of) for name, of in theirs.items()} if theirs else {},
    )


def read(job: EvalJob) -> Collection:
    """The collection, after printing what was left out of it.

    Raises:
        DataError: a file is missing or wrong.
    """
    collection = Collection.from_beir(*job.beir) if job.beir else Collection.from_rows(job.rows)
    for note in collection.notes:
        console.say(note)
    return collection


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

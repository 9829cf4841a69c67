"""Retrieval metrics of vectors, through ir-measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedctl.errors import ConfigError
from embedctl.evaluation.collections import Collection
from embedctl.retrieval.index import search

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

METRICS = {
    "nDCG@10": "nDCG@10",
    "MRR@10": "RR@10",
    "Recall@1": "R@1",
    "Recall@10": "R@10",
    "Recall@100": "R@100",
    "MAP": "AP",
}
DEPTH = 1000


def expect_metric(name: str) -> None:
    """Raise a ConfigError that names the metrics if `name` is none of them."""
    if name not in METRICS:
        raise ConfigError(f"--metric {name}: unknown", f"use one of {', '.join(METRICS)}")


def rank(collection: Collection, query_QH: NDArray[np.float32], corpus_DH: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """The documents of each query, a query's own text left out unless it is judged; equal scores in the corpus's order.

    The score that ir-measures sorts by is the number of documents below, so that it keeps our order.
    """
    _, places = search(query_QH, corpus_DH, DEPTH + 1)
    ids, texts = list(collection.corpus), list(collection.corpus.values())
    run: dict[str, dict[str, float]] = {}
    for (query, text), found in zip(collection.queries.items(), places, strict=True):
        judged = collection.qrels[query]
        kept = [ids[place] for place in found if texts[place] != text or ids[place] in judged]
        run[query] = {document: float(len(kept) - order) for order, document in enumerate(kept[:DEPTH])}
    return run


def per_query(
    collection: Collection, query_QH: NDArray[np.float32], corpus_DH: NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """Each metric of each query: metric, then query id, to value."""
    import ir_measures

    measures = {name: ir_measures.parse_measure(theirs) for name, theirs in METRICS.items()}
    names = {str(measure): name for name, measure in measures.items()}
    values: dict[str, dict[str, float]] = {name: {} for name in METRICS}
    found: Any = ir_measures.iter_calc(measures.values(), collection.qrels, rank(collection, query_QH, corpus_DH))
    for value in found:
        values[names[str(value.measure)]][value.query_id] = float(value.value)
    return values


def evaluate(
    collection: Collection, query_QH: NDArray[np.float32], corpus_DH: NDArray[np.float32]
) -> dict[str, float]:
    """Each metric's mean over the queries.

    Args:
        collection: what is evaluated on.
        query_QH: vectors of its queries, in their order.
        corpus_DH: vectors of its corpus, in its order.
    """
    return means(per_query(collection, query_QH, corpus_DH))


def means(values: dict[str, dict[str, float]]) -> dict[str, float]:
    """Each metric's mean over the queries."""
    return {name: sum(of.values()) / len(of) for name, of in values.items()}


def evaluate_embedder(
    embedder: Embedder,
    collection: Collection,
    *,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    dim: int | None = None,
    show_progress: bool = False,
) -> dict[str, dict[str, float]]:
    """Each metric of each query for a model: metric, then query id, to value."""
    queries = embedder.encode_queries(
        list(collection.queries.values()), prompt=query_prompt, dim=dim, show_progress=show_progress
    )
    passages = embedder.encode_passages(
        list(collection.corpus.values()), prompt=passage_prompt, dim=dim, show_progress=show_progress
    )
    return per_query(collection, unit(queries), unit(passages))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors at length 1, as retrieval compares them by cosine."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)

"""Retrieval metrics of vectors, through ir-measures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl.errors import ConfigError
from embedctl.evaluation.collections import Collection
from embedctl.retrieval.index import search

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
    """The documents of each query with their scores, a query's own text left out unless it is judged.

    Equal scores rank in the order of the corpus: each place costs a little, far below what floats tell apart in sorting.
    """
    scores, places = search(query_QH, corpus_DH, DEPTH + 1)
    ids, texts = list(collection.corpus), list(collection.corpus.values())
    run: dict[str, dict[str, float]] = {}
    for (query, text), found in zip(collection.queries.items(), places, strict=True):
        judged = collection.qrels[query]
        kept = [ids[place] for place in found if texts[place] != text or ids[place] in judged]
        run[query] = {document: float(len(kept) - order) for order, document in enumerate(kept[:DEPTH])}
    del scores
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
    values = per_query(collection, query_QH, corpus_DH)
    return {name: sum(of.values()) / len(collection.queries) for name, of in values.items()}

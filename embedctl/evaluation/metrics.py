"""Retrieval metrics of vectors, through ir-measures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from embedctl.evaluation.collections import Collection
from embedctl.evaluation.names import METRICS
from embedctl.search.exact import Vectors, search
from embedctl.search.vectors import passage_vectors, query_vectors

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

PerQuery = dict[str, dict[str, float]]  # metric, then query id

DEPTH = 1000  # documents of a ranking, as TREC has it; MAP counts an answer below as not found
QUERIES_AT_A_TIME = 512


def ranking(
    collection: Collection, query_QH: Vectors, corpus_DH: Vectors, device: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Each query and its nearest documents, best first; equal scores in the order of the corpus.

    A document with the query's very text is left out, unless it answers the query: a model finds it for nothing.
    """
    copies = _copies(collection)
    depth = DEPTH + max(map(len, copies.values()), default=0)
    _, places = search(query_QH, corpus_DH, depth, device)
    ids = list(collection.corpus)
    for (query, text), found in zip(collection.queries.items(), places, strict=True):
        judged = collection.qrels[query]
        skipped = {document for document in copies.get(text, ()) if judged.get(document, 0) <= 0}
        kept = (ids[place] for place in found if ids[place] not in skipped)
        yield query, list(islice(kept, DEPTH))


def _copies(collection: Collection) -> dict[str, list[str]]:
    """Query text to the documents of that text."""
    copies: dict[str, list[str]] = {}
    asked = set(collection.queries.values())
    for document, text in collection.corpus.items():
        if text in asked:
            copies.setdefault(text, []).append(document)
    return copies


def per_query(collection: Collection, query_QH: Vectors, corpus_DH: Vectors, device: str | None = None) -> PerQuery:
    """Each metric of each query.

    Args:
        collection: what is evaluated on.
        query_QH: vectors of its queries, in their order.
        corpus_DH: vectors of its corpus, in its order.
        device: where to search; the GPU where there is one by default.

    Raises:
        ModelError: a vector is not finite.
    """
    import ir_measures

    measures = {str(ir_measures.parse_measure(theirs)): name for name, theirs in METRICS.items()}
    values: PerQuery = {name: dict.fromkeys(collection.queries, 0.0) for name in METRICS}
    ranked = ranking(collection, query_QH, corpus_DH, device)
    while block := dict(islice(ranked, QUERIES_AT_A_TIME)):
        # the number of documents that stand below is a score that sorts as we did, without ties
        run = {
            query: {key: float(len(keys) - order) for order, key in enumerate(keys)} for query, keys in block.items()
        }
        judged = {query: collection.qrels[query] for query in block}
        found: Any = ir_measures.iter_calc(map(ir_measures.parse_measure, METRICS.values()), judged, run)
        for value in found:
            values[measures[str(value.measure)]][value.query_id] = float(value.value)
    return values


def means(values: PerQuery) -> dict[str, float]:
    """Each metric's mean over the queries."""
    return {name: sum(of.values()) / len(of) for name, of in values.items()}


def measure_embedder(
    embedder: Embedder,
    collection: Collection,
    *,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    dim: int | None = None,
    show_progress: bool = False,
) -> PerQuery:
    """Each metric of each query for a model.

    Args:
        embedder: the model.
        collection: what is evaluated on.
        query_prompt: put before queries that have none of their own; the model's own by default.
        passage_prompt: put before passages; the model's own by default.
        dim: leading dimensions to keep.
        show_progress: whether bars show rate and time left.

    Raises:
        ModelError: a vector is not finite, or the model has fewer dimensions.
    """
    queries, passages = list(collection.queries.values()), list(collection.corpus.values())
    own = [collection.prompts.get(query) for query in collection.queries]
    query_QH = query_vectors(embedder, queries, own, prompt=query_prompt, dim=dim, show_progress=show_progress)
    corpus_DH = passage_vectors(embedder, passages, prompt=passage_prompt, dim=dim, show_progress=show_progress)
    return per_query(collection, query_QH, corpus_DH, str(embedder.device))

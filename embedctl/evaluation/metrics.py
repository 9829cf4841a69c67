"""Retrieval metrics of embeddings, computed by ir-measures from an exact search."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from embedctl.evaluation.collections import Collection
from embedctl.evaluation.names import METRICS
from embedctl.model.similarity import Similarity
from embedctl.search.exact import Vectors, search
from embedctl.search.vectors import passage_vectors, query_vectors

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

PerQuery = dict[str, dict[str, float]]  # metric to query id to value

DEPTH = 1000  # documents per query, as in TREC; MAP counts a relevant document after them as not found
QUERIES_PER_BLOCK = 512


def rank_documents(
    collection: Collection, query_QH: Vectors, corpus_DH: Vectors, device: str | None = None, *, similarity: Similarity
) -> Iterator[tuple[str, list[str]]]:
    """Yield each query id with the ids of the most similar documents, the best first.

    Documents with equal scores have the order of the corpus. A document with the same text as the query is left out
    unless it is relevant, because every model finds it. The document with the id of the query is always left out, as in
    BEIR: in collections such as ArguAna it is the query itself.
    """
    copies = _documents_equal_to_queries(collection)
    depth = DEPTH + max(map(len, copies.values()), default=0) + 1
    _, indices = search(query_QH, corpus_DH, depth, device, similarity=similarity)
    ids = list(collection.corpus)
    for (query, text), found in zip(collection.queries.items(), indices, strict=True):
        grades = collection.qrels[query]
        skipped = {query, *(document for document in copies.get(text, ()) if grades.get(document, 0) <= 0)}
        kept = (ids[index] for index in found if ids[index] not in skipped)
        yield query, list(islice(kept, DEPTH))


def _documents_equal_to_queries(collection: Collection) -> dict[str, list[str]]:
    """Return, per query text, the ids of the documents with the same text."""
    copies: dict[str, list[str]] = {}
    queries = set(collection.queries.values())
    for document, text in collection.corpus.items():
        if text in queries:
            copies.setdefault(text, []).append(document)
    return copies


def metrics_per_query(
    collection: Collection, query_QH: Vectors, corpus_DH: Vectors, device: str | None = None, *, similarity: Similarity
) -> PerQuery:
    """Return each metric of each query, given the embeddings of the collection's queries and corpus in their order.

    The embeddings are prepared for the similarity function, by which the documents are ranked.

    Raises:
        ModelError: an embedding contains NaN or infinity.
    """
    import ir_measures

    names = {str(ir_measures.parse_measure(measure)): name for name, measure in METRICS.items()}
    values: PerQuery = {name: dict.fromkeys(collection.queries, 0.0) for name in METRICS}
    ranked = rank_documents(collection, query_QH, corpus_DH, device, similarity=similarity)
    while block := dict(islice(ranked, QUERIES_PER_BLOCK)):
        # ir-measures sorts by score. This score decreases in the order of the documents and has no ties.
        run = {
            query: {document: float(len(documents) - index) for index, document in enumerate(documents)}
            for query, documents in block.items()
        }
        qrels = {query: collection.qrels[query] for query in block}
        measured: Any = ir_measures.iter_calc(map(ir_measures.parse_measure, METRICS.values()), qrels, run)
        for value in measured:
            values[names[str(value.measure)]][value.query_id] = float(value.value)
    return values


def means(values: PerQuery) -> dict[str, float]:
    """Return the mean of each metric over the queries."""
    return {name: sum(by_query.values()) / len(by_query) for name, by_query in values.items()}


def evaluate_embedder(
    embedder: Embedder,
    collection: Collection,
    *,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    dim: int | None = None,
) -> PerQuery:
    """Encode a collection with a model and return each metric of each query. See `EvalJob` for the options.

    Raises:
        ConfigError: the model has fewer than `dim` dimensions.
        ModelError: an embedding contains NaN or infinity.
    """
    queries, passages = list(collection.queries.values()), list(collection.corpus.values())
    prompts = [collection.prompts.get(query) for query in collection.queries]
    query_QH = query_vectors(embedder, queries, prompts, prompt=query_prompt, dim=dim)
    corpus_DH = passage_vectors(embedder, passages, prompt=passage_prompt, dim=dim)
    return metrics_per_query(collection, query_QH, corpus_DH, str(embedder.device), similarity=embedder.similarity)

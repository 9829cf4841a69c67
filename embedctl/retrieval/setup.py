"""Rows, texts and vectors brought together: what mining, its scores and its report are read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedctl.retrieval.filters import (
    Filter,
    hashes,
    no_answer,
    no_near_duplicate,
    normalised,
    not_among,
    not_the_query,
    references,
)
from embedctl.retrieval.index import Ids, Vectors
from embedctl.retrieval.mining import Finder, exact
from embedctl.retrieval.pool import Pool, Rows, pair_scores


def filters_of(rows: Rows, pool: Pool) -> dict[str, Filter]:
    """What is never taken as a negative, by name."""
    exact_P, normal_P = hashes(pool.texts), hashes(map(normalised, pool.texts))
    positives = [pool.places(map(int, rows.answers.of(query))) for query in rows.queries]
    filters = {
        "answers": no_answer(rows.queries, exact_P, rows.answers),
        "near-duplicates of answers": no_near_duplicate(positives, normal_P),
        "the query itself": not_the_query(hashes(map(normalised, rows.queries)), normal_P),
    }
    if rows.keep_negatives:
        filters["own negatives"] = not_among([pool.places(own) for own in rows.own])
    return filters


@dataclass(frozen=True)
class Vectorised:
    """Rows and texts with their vectors.

    Args:
        rows: Q rows.
        pool: P texts.
        query_QH: vectors of the queries.
        pool_PH: vectors of the texts.
        device: where to search.
    """

    rows: Rows
    pool: Pool
    query_QH: Vectors
    pool_PH: Vectors
    device: str

    @property
    def corpus(self) -> Vectors:
        """The vectors (D, H) of what is searched."""
        return self.pool_PH[: self.pool.searched]

    def finder(self) -> Finder:
        """Exact search."""
        return exact(self.query_QH, self.corpus, self.device)

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """The scores of each row's query with the texts at its places in the pool."""
        return [pair_scores(self.query_QH[row], self.pool_PH, own) for row, own in zip(rows, ids, strict=True)]

    def references(self, how: str) -> Vectors:
        """The score (Q,) that margins are measured from: see `filters.references`."""
        answers = self.rows.answers
        positives = [self.pool.places(answers.best_of(query)) for query in self.rows.queries]
        return references(self.scores(range(len(positives)), positives), how)

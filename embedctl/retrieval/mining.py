"""Hard negatives: what a model finds near a query although no row calls it an answer.

The choice is a list of masks over (query, candidate), so that a filter is one function; here they are the known positives,
the query itself and the range of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedctl.data.build import text_hash
from embedctl.data.random import mix
from embedctl.data.rows import Row
from embedctl.retrieval.index import search

QUERY_BLOCK = 1024


@dataclass(frozen=True)
class Choice:
    """How negatives are chosen.

    Args:
        first: the nearest rank that may be taken, counted from 0 among the candidates left.
        last: the rank before which the range ends.
        number: negatives of a row.
        random: any of the range, or the nearest.
        seed: of the random choice.
    """

    first: int
    last: int
    number: int
    random: bool
    seed: int

    def pick(self, row: int, ranked: NDArray[np.int64]) -> NDArray[np.int64]:
        """The negatives of a row among its candidates, nearest first.

        The range is clipped to what there is: with few candidates it begins nearer, so that there are still `number` to take.
        """
        first = max(0, min(self.first, len(ranked) - self.number))
        pool = ranked[first : max(self.last, first + self.number)]
        if not self.random or len(pool) <= self.number:
            return pool[: self.number]
        keys = mix(self.seed, row, np.arange(len(pool)))
        return pool[np.sort(np.argsort(keys, kind="stable")[: self.number])]


@dataclass
class KnownTexts:
    """What may not be a negative of a query: its positives in any row, and itself."""

    by_query: dict[int, set[int]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Learn a row's positives; graded texts count as positives, since none is known to be wrong."""
        key = text_hash(row.query)
        self.by_query.setdefault(key, {key}).update(text_hash(text) for text in row.pos)

    def mask(self, query: str, candidates: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the candidates (N,) hashes may not be negatives of the query."""
        known = np.fromiter(self.by_query.get(text_hash(query), set()), dtype=np.uint64)
        return np.isin(candidates, known)


def mine(
    queries: Sequence[str],
    query_QH: NDArray[np.float32],
    corpus_DH: NDArray[np.float32],
    hashes_D: NDArray[np.uint64],
    known: KnownTexts,
    choice: Choice,
) -> Iterator[NDArray[np.int64]]:
    """The negatives of each query as places in the corpus.

    Args:
        queries: Q texts.
        query_QH: their vectors.
        corpus_DH: vectors of distinct texts.
        hashes_D: their hashes.
        known: what may not be taken.
        choice: how they are chosen.
    """
    most = max((len(of) for of in known.by_query.values()), default=0)
    depth = max(choice.last, choice.number) + most
    for start in range(0, len(queries), QUERY_BLOCK):
        _, places = search(query_QH[start : start + QUERY_BLOCK], corpus_DH, depth)
        for offset, found in enumerate(places):
            allowed = found[~known.mask(queries[start + offset], hashes_D[found])]
            yield choice.pick(start + offset, allowed)

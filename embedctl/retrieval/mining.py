"""Hard negatives: what a model finds near a query although no row calls it an answer.

A filter is a function of (row, candidate ids, scores) that says which candidates it keeps, so that another one is one
function and one line where the filters are listed. What the filters leave is ranked, and a range of ranks drawn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedctl.data.build import text_hash
from embedctl.data.random import mix
from embedctl.data.rows import Row
from embedctl.retrieval.index import Ids, Vectors, search

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Filter = Callable[[int, Ids, Vectors], Mask]
QUERY_BLOCK = {"cpu": 1024}
GPU_QUERY_BLOCK = 16384  # the corpus travels to the GPU once a block


@dataclass(frozen=True)
class Choice:
    """How negatives are chosen among the candidates that the filters leave.

    Args:
        first: the nearest rank that may be taken, counted from 0.
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

    def begins(self, candidates: int) -> int:
        """The rank at which the range begins: nearer where there are too few candidates for `number` beyond `first`."""
        return max(0, min(self.first, candidates - self.number))

    def pick(self, row: int, ranked: Ids) -> Ids:
        """The negatives of a row, nearest first, from its candidates, nearest first.

        A random choice follows from the seed and the row alone, not from the order in which rows are mined.
        """
        pool = ranked[self.begins(len(ranked)) : self.last]
        if not self.random or len(pool) <= self.number:
            return pool[: self.number]
        keys = mix(self.seed, row, np.arange(len(pool)))
        return pool[np.sort(np.argsort(keys, kind="stable")[: self.number])]


@dataclass
class Answers:
    """The positives of each query over all rows, by the hashes of the texts.

    Graded texts count, whatever their grade: they are judged, and no mined negative may contradict that.
    """

    by_query: dict[int, set[int]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Learn a row's positives."""
        self.by_query.setdefault(text_hash(row.query), set()).update(map(text_hash, row.pos))

    def of(self, query: str) -> Hashes:
        """The hashes of a query's positives."""
        return np.fromiter(self.by_query.get(text_hash(query), ()), dtype=np.uint64)

    @property
    def most(self) -> int:
        """Positives of the query that has most."""
        return max(map(len, self.by_query.values()), default=0)


def hashes(texts: Sequence[str]) -> Hashes:
    """The hash (N,) of each text."""
    return np.fromiter(map(text_hash, texts), dtype=np.uint64, count=len(texts))


def no_answer(queries: Sequence[str], hashes_D: Hashes, answers: Answers) -> Filter:
    """Keeps what no row calls an answer to the query."""
    return lambda row, ids, _scores: ~np.isin(hashes_D[ids], answers.of(queries[row]))


def not_the_query(queries: Sequence[str], hashes_D: Hashes) -> Filter:
    """Keeps what is not the query's own text."""
    return lambda row, ids, _scores: hashes_D[ids] != np.uint64(text_hash(queries[row]))


@dataclass
class Miner:
    """Chooses negatives and counts what happens.

    Args:
        filters: name to filter; a candidate must pass all, and counts for the first that rejects it.
        choice: how negatives are chosen among those that pass.
        spare: candidates that the filters may reject at most, beyond which search need not look.
    """

    filters: dict[str, Filter]
    choice: Choice
    spare: int
    counts: Counter[str] = field(default_factory=Counter)

    def mine(self, query_QH: Vectors, corpus_DH: Vectors, device: str = "cpu") -> Iterator[Ids]:
        """The negatives of each query as places in the corpus.

        Args:
            query_QH: vectors of the rows' queries.
            corpus_DH: vectors of distinct texts.
            device: where to search.
        """
        step = QUERY_BLOCK.get(device, GPU_QUERY_BLOCK)
        for start in range(0, len(query_QH), step):
            scores, ids = search(query_QH[start : start + step], corpus_DH, self.choice.last + self.spare, device)
            for offset in range(len(ids)):
                yield self.choose(start + offset, ids[offset], scores[offset])

    def choose(self, row: int, ids: Ids, scores: Vectors) -> Ids:
        """The negatives of a row among the candidates (N,) that search found for it."""
        for name, keeps in self.filters.items():
            kept = keeps(row, ids, scores)
            self.counts[f"rejected: {name}"] += int((~kept).sum())
            ids, scores = ids[kept], scores[kept]
        chosen = self.choice.pick(row, ids)
        self.counts["negatives"] += len(chosen)
        self.counts["short rows"] += len(chosen) < self.choice.number
        self.counts["rows with nearer ranks"] += self.choice.begins(len(ids)) < self.choice.first
        return chosen

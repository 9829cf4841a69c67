"""Hard negatives: texts that a search finds near a query although no row calls them positives of it.

A block of rows at a time: a finder gives candidates, the sieve applies filters and limits, a reranker may score what is
left again, and the negatives are chosen from a range of the positions that remain. A row that gets too few may be
filled: with those that the limits rejected by the smallest margin, or with random texts of the corpus; never with a
positive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from embedctl.distributed.random import mix
from embedctl.mining.candidates import Candidates, Choice, Limits, Mined
from embedctl.mining.filters import Filter
from embedctl.mining.rerank import Reranker
from embedctl.search.exact import Finder, Ids, Vectors

RERANKED_BLOCK = 16  # reranking is slow: the progress bar should move

Filler = Callable[[Candidates, Candidates, int], Candidates]  # candidates, those chosen, how many more: these


def block_of(device: str) -> int:
    """Rows that are searched for at a time: many on a GPU, where the corpus is copied once per block."""
    return 1024 if device == "cpu" else 16384


@dataclass(frozen=True)
class Sieve:
    """Applies filters, then limits."""

    filters: Mapping[str, Filter]  # name to filter; a candidate must pass all, and counts for the first that rejects it
    limits: Limits  # of the model's scores
    references: Vectors  # (Q,) the model's score of each row's positive

    def sift(self, row: int, ids: Ids, scores: Vectors) -> Candidates:
        """What the filters leave of the texts found for a row (id -1: none), with how far it is outside the limits."""
        ids, scores = ids[ids >= 0], scores[ids >= 0]
        found, rejected = len(ids), Counter[str]()
        for name, keeps in self.filters.items():
            kept = keeps(row, ids, scores)
            rejected[name] += int((~kept).sum())
            ids, scores = ids[kept], scores[kept]
        unknown, inside = (np.full(len(ids), value, np.float32) for value in (np.nan, -np.inf))
        reference = float(self.references[row])
        candidates = Candidates(row, ids, scores, unknown, inside, reference, rejected, found)
        candidates.limit(np.arange(len(ids)), self.limits.excess(scores, reference))
        return candidates


@dataclass(frozen=True)
class Miner:
    """Chooses negatives."""

    sieve: Sieve  # what may be taken
    choice: Choice  # how negatives are chosen among it
    spare: int  # candidates that the filters may reject at most, so many more than the range holds are searched for
    reranker: Reranker | None = None  # scores again what is left of the range
    filler: Filler | None = None  # gives more to a row that has too few

    @property
    def depth(self) -> int:
        """Candidates to search for per row."""
        return self.choice.last + self.spare

    def mine(self, rows: range, finder: Finder, block: int = 1024) -> Iterator[Mined]:
        """The negatives of each row, in order.

        Args:
            rows: which.
            finder: gives scores and ids, -1 for none, of the nearest of a block of rows.
            block: rows at a time.
        """
        for start in rows[::block]:
            piece = range(start, min(start + block, rows.stop))
            scores, ids = finder(slice(piece.start, piece.stop), self.depth)
            found = [self.sieve.sift(*texts) for texts in zip(piece, ids, scores, strict=True)]
            if self.reranker:
                self.reranker.rerank(found, self.choice.last)
            yield from map(self._choose, found)

    def _choose(self, candidates: Candidates) -> Mined:
        """The negatives of a row."""
        allowed, wanted = candidates.allowed, self.choice.number
        negatives = candidates.take(self.choice.pick(candidates.row, allowed))
        in_range = len(negatives)
        if self.filler and in_range < wanted:
            negatives += self.filler(candidates, negatives, wanted - in_range)
        if self.reranker:
            self.reranker.complete(negatives)
        nearer = self.choice.begins(len(allowed)) < self.choice.first
        return Mined(negatives, candidates, len(negatives) - in_range, nearer)


def relaxed(candidates: Candidates, _chosen: Candidates, missing: int) -> Candidates:
    """The candidates that only the limits rejected, the least outside first."""
    outside = np.flatnonzero(candidates.excess > 0)
    return candidates.take(outside[np.argsort(candidates.excess[outside], kind="stable")[:missing]])


@dataclass(frozen=True)
class RandomTexts:
    """Random texts of the corpus that the sieve allows, a lowest score set aside, and the reranker did not refuse."""

    sieve: Sieve  # the filters and limits of the rows
    seed: int  # of the draws
    query_QH: Vectors  # vectors of the rows' queries
    corpus_DH: Vectors  # vectors of the corpus

    def __call__(self, candidates: Candidates, chosen: Candidates, missing: int) -> Candidates:
        """See `Filler`: draws several times more than are missing, as some may not be taken."""
        row, size = candidates.row, len(self.corpus_DH)
        draws = mix(self.seed, row, np.arange(8 * missing + 64), 1) % np.uint64(size)
        ids = np.array(list(dict.fromkeys(draws.astype(np.int64).tolist())), dtype=np.int64)
        refused = candidates.ids[(candidates.excess > 0) & ~np.isnan(candidates.rerank_scores)]
        ids = ids[~np.isin(ids, np.concatenate([chosen.ids, refused]))]
        free = replace(self.sieve, limits=replace(self.sieve.limits, min_score=None))
        drawn = free.sift(row, ids, np.asarray(self.corpus_DH[ids] @ self.query_QH[row], dtype=np.float32))
        return drawn.take(drawn.allowed[:missing])

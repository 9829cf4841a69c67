"""Selection of hard negatives among the passages that a search returns for each query.

Rows are processed in blocks. A search returns the candidates of each row, and filters and limits reject some of them.
For a row whose range of positions is not full then, the search is repeated with more candidates. A reranker may score
the candidates that remain, and the negatives are selected from the range. A row with too few negatives may receive
more: candidates that the limits rejected by the smallest amount, or random passages. A positive is never added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from embedctl.distributed.random import random_bits
from embedctl.mining.candidates import Candidates, Limits, MinedRow, Selection
from embedctl.mining.filters import Filter
from embedctl.mining.rerank import Reranker
from embedctl.model.similarity import Similarity
from embedctl.search.exact import Ids, Searcher, Vectors

RERANK_BLOCK = 16  # rows per block with a reranker: reranking is slow, and the progress bar moves once per block
DEPTH_FACTOR = 4  # a repeated search is for this many times more candidates per row
MAX_RESULTS = 1 << 22  # results of a repeated search, of all its rows together; limits the memory

# The candidates of a row, the negatives selected from them, and how many are missing; returns additional negatives.
FillFunction = Callable[[Candidates, Candidates, int], Candidates]


def rows_per_block(device: str, *, reranked: bool = False) -> int:
    """Return the number of rows per search: large on a GPU, to which each search copies the whole corpus."""
    return RERANK_BLOCK if reranked else 1024 if device == "cpu" else 16384


@dataclass(frozen=True)
class CandidateFilter:
    """The filters and limits that candidates must pass."""

    filters: Mapping[str, Filter]  # by name; a candidate is counted for the first filter that rejects it
    limits: Limits  # limits on the embedding model's scores
    reference_scores: Vectors  # (Q,) the embedding model's reference score of each row

    def apply(self, row: int, ids: Ids, scores: Vectors) -> Candidates:
        """Return the search results of a row that pass the filters, with their violations of the limits.

        `ids` (N,) are indices into the corpus, most similar first, -1 for no result; `scores` (N,) are their scores.
        """
        ids, scores = ids[ids >= 0], scores[ids >= 0]
        found, rejected = len(ids), Counter[str]()
        for name, passes in self.filters.items():
            kept = passes(row, ids, scores)
            rejected[name] += int((~kept).sum())
            ids, scores = ids[kept], scores[kept]
        no_scores, no_violation = (np.full(len(ids), value, np.float32) for value in (np.nan, -np.inf))
        reference = float(self.reference_scores[row])
        candidates = Candidates(row, ids, scores, no_scores, no_violation, reference, rejected, found)
        candidates.apply_limits(np.arange(len(ids)), self.limits.violations(scores, reference))
        return candidates


@dataclass(frozen=True)
class Miner:
    """Selects the negatives of each row from the results of a search."""

    candidate_filter: CandidateFilter
    selection: Selection
    max_excluded: int  # the largest number of candidates per row that the filters can reject
    reranker: Reranker | None = None
    fill: FillFunction | None = None  # adds negatives to a row that has too few

    @property
    def depth(self) -> int:
        """The number of candidates of the first search per row, so that the range is full if no limit rejects one."""
        return self.selection.stop + self.max_excluded

    def mine(self, rows: range, searcher: Searcher, block: int = 1024) -> Iterator[MinedRow]:
        """Yield the negatives of each row, in order; `block` is the number of rows per search."""
        for start in rows[::block]:
            part = np.arange(start, min(start + block, rows.stop))
            found: Iterable[Candidates] = self._search(part, searcher, self.depth)
            if self.reranker:
                found = list(found)
                self.reranker.rerank(found, self.selection.stop)
            yield from map(self._select, found)

    def _search(self, rows: Ids, searcher: Searcher, depth: int) -> Iterator[Candidates]:
        """Yield the candidates of rows (R,), in order: `depth` per row, or more if its range is not full otherwise.

        A repeated search is for a few rows and runs when the first of them is needed, so that the many candidates of
        all rows are never in memory at the same time.
        """
        scores, ids = searcher(rows, depth)
        is_whole_corpus = ids.shape[1] < depth
        complete: dict[int, Candidates] = {}
        for row, row_ids, row_scores in zip(rows.tolist(), ids, scores, strict=True):
            candidates = self.candidate_filter.apply(row, row_ids, row_scores)
            is_full = len(candidates.allowed) >= self.selection.stop
            if is_full or is_whole_corpus or not self._more_can_pass(row_scores[row_ids >= 0], depth):
                complete[row] = candidates
        incomplete = rows[~np.isin(rows, list(complete))]
        deeper = depth * DEPTH_FACTOR
        size = max(1, MAX_RESULTS // deeper)
        parts = (incomplete[start : start + size] for start in range(0, len(incomplete), size))
        found = chain.from_iterable(self._search(part, searcher, deeper) for part in parts)
        for row in rows.tolist():
            yield complete.pop(row) if row in complete else next(found)

    def _more_can_pass(self, scores: Vectors, depth: int) -> bool:
        """Return whether passages that a search for `depth` candidates did not return can have the minimum score.

        `scores` (N,) are those of its results. A hybrid search returns the `depth` most similar passages and others.
        """
        minimum = self.candidate_filter.limits.min_score
        return minimum is None or int(np.count_nonzero(scores >= minimum)) >= min(depth, len(scores))

    def _select(self, candidates: Candidates) -> MinedRow:
        """Return the negatives of a row, selected from its candidates."""
        allowed, requested = candidates.allowed, self.selection.count
        negatives = candidates.take(self.selection.select(candidates.row, allowed))
        in_range = len(negatives)
        if self.fill and in_range < requested:
            negatives += self.fill(candidates, negatives, requested - in_range)
        if self.reranker:
            self.reranker.score_missing(negatives)
        range_extended = self.selection.range_start(len(allowed)) < self.selection.start
        return MinedRow(negatives, candidates, len(negatives) - in_range, range_extended)


def fill_relaxed(candidates: Candidates, _selected: Candidates, missing: int) -> Candidates:
    """Return up to `missing` candidates that only limits rejected, those with the smallest violation first."""
    rejected = np.flatnonzero(candidates.violation > 0)
    return candidates.take(rejected[np.argsort(candidates.violation[rejected], kind="stable")[:missing]])


@dataclass(frozen=True)
class RandomFill:
    """Selects random passages of the corpus.

    They pass the filters and all limits of the embedding model's scores except the minimum score. Passages that a limit
    of the reranker rejected are not used.
    """

    candidate_filter: CandidateFilter
    seed: int
    query_QH: Vectors  # (Q, H) embedding of each row's query
    corpus_DH: Vectors  # (D, H) embedding of each passage of the corpus
    similarity: Similarity  # function of the model

    def __call__(self, candidates: Candidates, selected: Candidates, missing: int) -> Candidates:
        """See `FillFunction`. More passages than `missing` are drawn, because some of them may be rejected."""
        row, size = candidates.row, len(self.corpus_DH)
        draws = random_bits(self.seed, row, np.arange(8 * missing + 64), 1) % np.uint64(size)
        ids = np.array(list(dict.fromkeys(draws.astype(np.int64).tolist())), dtype=np.int64)
        rejected = candidates.ids[(candidates.violation > 0) & ~np.isnan(candidates.rerank_scores)]
        ids = ids[~np.isin(ids, np.concatenate([selected.ids, rejected]))]
        limits = replace(self.candidate_filter.limits, min_score=None)
        scores = self.similarity.pair_scores(self.query_QH[row], self.corpus_DH[ids])
        drawn = replace(self.candidate_filter, limits=limits).apply(row, ids, scores)
        return drawn.take(drawn.allowed[:missing])

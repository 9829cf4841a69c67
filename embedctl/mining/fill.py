"""Add negatives to rows that received fewer than requested.

Those that the limits rejected by the smallest margin, or random texts of the corpus; never a positive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from embedctl.distributed.random import mix
from embedctl.mining.candidates import Candidates
from embedctl.mining.miner import Sieve
from embedctl.search.exact import Vectors


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

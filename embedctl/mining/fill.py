"""More texts for a row that got too few: what the limits rejected by least, or any of the corpus; never an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedctl.distributed.random import mix
from embedctl.mining.candidates import Candidates
from embedctl.mining.miner import Miner
from embedctl.search.exact import Ids, Vectors


def relaxing(candidates: Candidates, taken: Ids, missing: int) -> tuple[Ids, Vectors]:
    """Fills a row with what only the limits rejected, the least outside first."""
    outside = np.flatnonzero((candidates.excess > 0) & ~np.isin(candidates.ids, taken))
    best = outside[np.argsort(candidates.excess[outside], kind="stable")[:missing]]
    return candidates.ids[best], candidates.scores[best]


@dataclass(frozen=True)
class FromTheCorpus:
    """Fills a row with any texts of the corpus that the filters and all limits but the lowest score allow.

    What a judge refused is left out.

    Args:
        miner: whose filters, limits and seed.
        query_QH: vectors of the rows' queries.
        corpus_DH: vectors of the corpus.
    """

    miner: Miner
    query_QH: Vectors
    corpus_DH: Vectors

    def __call__(self, candidates: Candidates, taken: Ids, missing: int) -> tuple[Ids, Vectors]:
        """See `Filler`: draws several times more than are missing, as some may not be taken."""
        row, size = candidates.row, len(self.corpus_DH)
        draws = mix(self.miner.choice.seed, row, np.arange(8 * missing + 64), 1) % np.uint64(size)
        ids = np.array(list(dict.fromkeys(draws.astype(np.int64).tolist())), dtype=np.int64)
        refused = candidates.ids[(candidates.excess > 0) & ~np.isnan(candidates.judged)]
        ids = ids[~np.isin(ids, np.concatenate([taken, refused]))]
        scores = np.asarray(self.corpus_DH[ids] @ self.query_QH[row], dtype=np.float32)
        kept = np.ones(len(ids), dtype=bool)
        for keeps in self.miner.filters.values():
            kept &= keeps(row, ids, scores)
        for excess in self.miner.limits.without_floor.excess(scores, self.miner.reference(row)).values():
            kept &= excess <= 0
        return ids[kept][:missing], scores[kept][:missing]

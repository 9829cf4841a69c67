"""Mining over a training store: texts are ids and tokens here, so vectors of a model in training can be searched.

The rules are those of `mining.py`. Near-duplicates are texts of the same tokens: a model can't tell them apart.
Q distinct queries, P distinct passages, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, TextStore, TrainingData
from embedctl.distributed.random import mix
from embedctl.errors import TrainingError
from embedctl.mining.candidates import Choice
from embedctl.mining.filters import no_near_duplicate, not_the_query
from embedctl.mining.limits import Limits, references
from embedctl.mining.miner import Miner, Sieve, block_of
from embedctl.mining.pool import Hashes, pair_scores
from embedctl.search.exact import Ids, Vectors
from embedctl.search.finder import exact
from embedctl.tokens.packing import Integers, gather

MINED_KINDS = [KINDS.index(kind) for kind in (RowKind.IN_BATCH, RowKind.HARD)]  # others have scores of their own texts
GRADED = KINDS.index(RowKind.GRADED)
TEXTS_AT_A_TIME = 1 << 15


@dataclass(frozen=True)
class StoreMiner:
    """Finds negatives for the queries of a store among its passages.

    Args:
        query_Q: text ids, ascending.
        passage_P: text ids, ascending.
        query_R: whose of the queries each row has; -1 for a row whose negatives stay.
        answers: each query's positives over all rows, as places in `passage_P`; graded texts count.
        measured: those of them that are no graded texts: margins are measured from the hardest.
        twin_Q: equal to a passage's where that is the query's own text; of a query that is no passage, its own tokens'.
        twin_P: equal for passages of equal tokens.
    """

    query_Q: Integers
    passage_P: Integers
    query_R: Integers
    answers: list[Ids]
    measured: list[Ids]
    twin_Q: Hashes
    twin_P: Hashes

    @classmethod
    def of(cls, data: TrainingData) -> StoreMiner:
        """The miner of a store's rows.

        Raises:
            TrainingError: all of them have scores of their own texts.
        """
        texts, rows, own_query = data.texts, data.rows, data.rows.query
        mined = np.isin(rows.kind, MINED_KINDS)
        if not mined.any():
            raise TrainingError("--remine-every-epoch: every row has scores of its own texts", "leave it out")
        query_Q, first = np.unique(own_query[mined], return_index=True)
        asked_Q = data.query_as_passage[np.flatnonzero(mined)[first]]
        query_R = np.where(mined, np.searchsorted(query_Q, own_query), -1)
        passage_P = np.setdiff1d(np.arange(len(texts)), own_query)
        twin = token_hashes(texts)
        place = np.searchsorted(texts.hashes, asked_Q).clip(max=len(texts) - 1)
        twin_Q = twin[np.where(texts.hashes[place] == asked_Q, place, query_Q)]
        everyone = np.ones(len(rows), dtype=bool)
        answers, measured = (
            _positives(data, asked_Q, passage_P, wanted) for wanted in (everyone, np.asarray(rows.kind) != GRADED)
        )
        return cls(query_Q, passage_P, query_R, answers, measured, twin_Q, twin[passage_P])

    def mine(
        self, part: range, vectors: tuple[Vectors, Vectors], choice: Choice, limits: Limits, device: str
    ) -> tuple[Ids, NDArray[np.float32]]:
        """The negatives of some of the queries.

        Args:
            part: which.
            vectors: of all queries (Q, H) and passages (P, H), of length 1.
            choice: how they are chosen.
            limits: of their scores.
            device: where to search.

        Returns:
            Text ids (len(part), N), -1 where there are fewer, and by how much each scores above the query's hardest
            positive (len(part), N), NaN for none.
        """
        query_QH, passage_PH = vectors
        positive_Q = np.full(len(self.query_Q), np.inf, dtype=np.float32)
        scores = [pair_scores(query_QH[query], passage_PH, self.measured[query]) for query in part]
        positive_Q[part.start : part.stop] = references(scores, "hardest")
        filters = {
            "answers": no_near_duplicate(self.answers, self.twin_P),
            "the query itself": not_the_query(self.twin_Q, self.twin_P),
        }
        spare = max(map(len, self.answers), default=0) + 1
        miner = Miner(Sieve(filters, limits, positive_Q), choice, spare)
        ids = np.full((len(part), choice.number), -1, dtype=np.int64)
        above = np.full(ids.shape, np.nan, dtype=np.float32)
        found = miner.mine(part, exact(query_QH, passage_PH, device), block_of(device))
        for place, mined in enumerate(found):
            ids[place, : len(mined.negatives)] = self.passage_P[mined.negatives.ids]
            above[place, : len(mined.negatives)] = mined.negatives.above
        return ids, above


def _positives(data: TrainingData, asked_Q: Hashes, passage_P: Integers, wanted_R: NDArray[np.bool_]) -> list[Ids]:
    """The positives that the wanted rows give each query, whatever the rows' prompts, as places in `passage_P`."""
    rows, asked_R = data.rows, np.asarray(data.query_as_passage)
    order = np.flatnonzero(wanted_R)[np.argsort(asked_R[wanted_R], kind="stable")]
    count = np.asarray(rows.pos_count)[order]
    flat = np.searchsorted(passage_P, gather(rows.text, np.asarray(rows.bounds[:-1])[order] + 1, count))
    ends = np.append(0, np.cumsum(count))
    low, high = (ends[np.searchsorted(asked_R[order], asked_Q, side=side)] for side in ("left", "right"))
    return [np.unique(flat[begin:end]) for begin, end in zip(low, high, strict=True)]


def token_hashes(texts: TextStore) -> Hashes:
    """(N,) 64 bits of each text's tokens: the sum of well-mixed pairs of token and place."""
    found = np.zeros(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        tokens = texts.ragged(np.arange(start, min(start + TEXTS_AT_A_TIME, len(texts))))
        place = np.arange(len(tokens.ids)) - np.repeat(tokens.starts, tokens.lengths)
        total = np.append(np.uint64(0), np.cumsum(mix(tokens.ids, place), dtype=np.uint64))
        found[start : start + len(tokens)] = total[tokens.starts + tokens.lengths] - total[tokens.starts]
    return found

"""Mining over a training store: texts are ids and tokens here, so vectors of a model in training can be searched.

The rules are those of miner.py. Near-duplicates are texts of the same tokens: a model can't tell them apart.
Q distinct queries, P distinct passages, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedctl.data.store import GRADED, UNSCORED, RowsByKey, RowStore, TextStore, TrainingData
from embedctl.distributed.random import mix
from embedctl.errors import TrainingError
from embedctl.mining.candidates import Choice, Limits, references
from embedctl.mining.filters import no_near_duplicate, not_the_query
from embedctl.mining.miner import Miner, Sieve, block_of
from embedctl.mining.pool import Hashes, pair_scores
from embedctl.search.exact import Ids, Vectors, exact
from embedctl.tokens.spans import Integers, find

TEXTS_AT_A_TIME = 1 << 15


@dataclass(frozen=True)
class StoreMiner:
    """Finds negatives for the queries of a store among its passages."""

    query_Q: Integers  # text ids, ascending
    passage_P: Integers  # text ids, ascending
    query_R: Integers  # whose of the queries each row has; -1 for a row whose negatives stay
    answers: list[Ids]  # each query's positives over all rows, as places in `passage_P`; graded texts count
    measured: list[Ids]  # those of them that are no graded texts: margins are measured from the hardest
    tokens_Q: Hashes  # hash of the tokens of each query's text as a passage; as a query where it is no passage
    tokens_P: Hashes  # hash of each passage's tokens

    @classmethod
    def of(cls, data: TrainingData) -> StoreMiner:
        """The miner of a store's rows.

        Raises:
            TrainingError: all of them have scores of their own texts.
        """
        texts, rows, own_query = data.texts, data.rows, data.rows.query
        mined_R = np.isin(rows.kind, UNSCORED)
        if not mined_R.any():
            raise TrainingError("--remine-every-epoch: every row has scores of its own texts", "leave it out")
        query_Q, first_Q = np.unique(own_query[mined_R], return_index=True)
        as_passage_Q = data.query_as_passage[mined_R][first_Q]
        query, row = RowsByKey.of(data.query_as_passage).find(as_passage_Q)  # all rows of a query, whatever the prompt
        ungraded = rows.kind[row] != GRADED
        passage_P, passage_of_Q = np.setdiff1d(np.arange(len(texts)), own_query), find(texts.hashes, as_passage_Q)
        hashes = token_hashes(texts)
        return cls(
            query_Q=query_Q,
            passage_P=passage_P,
            query_R=np.where(mined_R, np.searchsorted(query_Q, own_query), -1),
            answers=_positives(rows, len(query_Q), query, row, passage_P),
            measured=_positives(rows, len(query_Q), query[ungraded], row[ungraded], passage_P),
            tokens_Q=hashes[np.where(passage_of_Q >= 0, passage_of_Q, query_Q)],
            tokens_P=hashes[passage_P],
        )

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
            "answers": no_near_duplicate(self.answers, self.tokens_P),
            "the query itself": not_the_query(self.tokens_Q, self.tokens_P),
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


def _positives(rows: RowStore, queries: int, query: Integers, row: Integers, passage_P: Integers) -> list[Ids]:
    """The positives of each query, from pairs of a query (ascending) and a row of it, as places in `passage_P`."""
    positives = rows.positives(row)
    places = np.searchsorted(passage_P, positives.take(rows.text))
    ends_Q = np.cumsum(np.bincount(query[positives.owners], minlength=queries))
    return [np.unique(own) for own in np.split(places, ends_Q[:-1])]


def token_hashes(texts: TextStore) -> Hashes:
    """(N,) 64 bits of each text's tokens: the sum of well-mixed pairs of token and place."""
    found = np.zeros(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        tokens = texts.ragged(np.arange(start, min(start + TEXTS_AT_A_TIME, len(texts))))
        spans = tokens.spans
        total = np.append(np.uint64(0), np.cumsum(mix(tokens.ids, spans.offsets), dtype=np.uint64))
        found[start : start + len(tokens)] = total[spans.ends] - total[spans.starts]
    return found

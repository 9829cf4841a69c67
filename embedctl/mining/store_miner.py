"""Mining of hard negatives in a token store, with embeddings of the model that is being trained.

The selection is that of miner.py. The store has token ids instead of texts. Therefore texts with equal tokens, whose
embeddings are equal, are rejected in the place of near-duplicates.

In the names of arrays, Q stands for the distinct queries, P for the distinct passages and R for the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedctl.data.store import GRADED, KINDS_WITHOUT_SCORES, RowsByKey, RowStore, TextStore, TrainingData
from embedctl.distributed.random import random_bits
from embedctl.errors import TrainingError
from embedctl.mining.candidates import Limits, Selection, reference_scores
from embedctl.mining.data import Hashes
from embedctl.mining.filters import exclude_near_duplicates, exclude_query
from embedctl.mining.miner import CandidateFilter, Miner, rows_per_block
from embedctl.model.similarity import Similarity
from embedctl.search.exact import Ids, Vectors, exact_searcher
from embedctl.tokens.spans import Integers, find_in_sorted

TEXTS_PER_BLOCK = 1 << 15


@dataclass(frozen=True)
class StoreMiner:
    """The queries and passages of a store, and the positives of each query."""

    query_id_Q: Integers  # text id of each query, in ascending order
    passage_id_P: Integers  # text id of each passage, in ascending order
    query_index_R: Integers  # index into `query_id_Q` of each row's query; -1 for a row that keeps its negatives
    positives: list[Ids]  # per query, its positives in all rows, as indices into `passage_id_P`; graded texts included
    reference_positives: list[Ids]  # as `positives`, without graded texts; margins are measured from the lowest score
    token_hash_Q: Hashes  # token hash of each query as a passage if the store has such a passage, else as a query
    token_hash_P: Hashes  # token hash of each passage

    @classmethod
    def from_data(cls, data: TrainingData) -> StoreMiner:
        """Return the miner for the rows of a store.

        Raises:
            TrainingError: every row has grades or teacher scores, so none can receive mined negatives.
        """
        texts, rows, query_id_R = data.texts, data.rows, data.rows.query_ids
        is_mined_R = np.isin(rows.kind, KINDS_WITHOUT_SCORES)
        if not is_mined_R.any():
            message = "--remine-every-epoch: every row has grades or teacher scores and cannot receive mined negatives"
            raise TrainingError(message, "remove --remine-every-epoch, or add rows without grades and teacher scores")
        query_id_Q, index_Q = np.unique(query_id_R[is_mined_R], return_index=True)
        hash_as_passage_Q = data.query_as_passage[is_mined_R][index_Q]
        # Pairs of a query and a row with the same text as query, whatever the prompt of the row.
        query_index, row = RowsByKey.build(data.query_as_passage).find(hash_as_passage_Q)
        ungraded = rows.kind[row] != GRADED
        passage_id_P = np.setdiff1d(np.arange(len(texts)), query_id_R)
        id_as_passage_Q = find_in_sorted(texts.hashes, hash_as_passage_Q)
        hashes = token_hashes(texts)
        return cls(
            query_id_Q=query_id_Q,
            passage_id_P=passage_id_P,
            query_index_R=np.where(is_mined_R, np.searchsorted(query_id_Q, query_id_R), -1),
            positives=_positives(rows, len(query_id_Q), query_index, row, passage_id_P),
            reference_positives=_positives(rows, len(query_id_Q), query_index[ungraded], row[ungraded], passage_id_P),
            token_hash_Q=hashes[np.where(id_as_passage_Q >= 0, id_as_passage_Q, query_id_Q)],
            token_hash_P=hashes[passage_id_P],
        )

    def mine(
        self,
        queries: range,
        vectors: tuple[Vectors, Vectors],
        selection: Selection,
        limits: Limits,
        device: str,
        similarity: Similarity,
    ) -> tuple[Ids, NDArray[np.float32]]:
        """Return the negatives of some of the queries.

        Args:
            queries: indices into `query_id_Q`.
            vectors: embeddings of all queries (Q, H) and of all passages (P, H), prepared for the similarity function.
            selection: how negatives are selected; N negatives per query.
            limits: limits on the scores of negatives.
            device: device of the search.
            similarity: function of the model.

        Returns:
            Text ids (len(queries), N), -1 if a query has fewer than N negatives, and the score of each negative minus
            the lowest score of the query's positives (len(queries), N), NaN for a missing negative.
        """
        query_QH, passage_PH = vectors
        reference_Q = np.full(len(self.query_id_Q), np.inf, dtype=np.float32)
        scores = [
            similarity.pair_scores(query_QH[query], passage_PH[self.reference_positives[query]]) for query in queries
        ]
        reference_Q[queries.start : queries.stop] = reference_scores(scores, "hardest")
        filters = {
            "known positives": exclude_near_duplicates(self.positives, self.token_hash_P[:, None]),
            "the query itself": exclude_query(self.token_hash_Q, self.token_hash_P[:, None]),
        }
        max_excluded = max(map(len, self.positives), default=0) + 1
        miner = Miner(CandidateFilter(filters, limits, reference_Q), selection, max_excluded)
        ids = np.full((len(queries), selection.count), -1, dtype=np.int64)
        above_positive = np.full(ids.shape, np.nan, dtype=np.float32)
        searcher = exact_searcher(query_QH, passage_PH, device, similarity=similarity)
        mined_rows = miner.mine(queries, searcher, rows_per_block(device))
        for index, mined in enumerate(mined_rows):
            ids[index, : len(mined.negatives)] = self.passage_id_P[mined.negatives.ids]
            above_positive[index, : len(mined.negatives)] = mined.negatives.above_positive
        return ids, above_positive


def _positives(rows: RowStore, queries: int, query_index: Integers, row: Integers, passage_id_P: Integers) -> list[Ids]:
    """Return the distinct positives of each of Q queries, as indices into `passage_id_P`.

    `queries` is Q. `query_index` (N,), in ascending order, and `row` (N,) are the pairs of a query and a row with it.
    """
    positives = rows.positives(row)
    indices = np.searchsorted(passage_id_P, positives.take(rows.text_ids))
    ends_Q = np.cumsum(np.bincount(query_index[positives.span_indices], minlength=queries))
    return [np.unique(of_query) for of_query in np.split(indices, ends_Q[:-1])]


def token_hashes(texts: TextStore) -> Hashes:
    """Return a 64-bit hash (N,) of the tokens of each text: the sum of the hashes of (token id, index in the text)."""
    hashes = np.zeros(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), TEXTS_PER_BLOCK):
        tokens = texts.tokens_of(np.arange(start, min(start + TEXTS_PER_BLOCK, len(texts))))
        spans = tokens.spans
        total = np.append(np.uint64(0), np.cumsum(random_bits(tokens.ids, spans.offsets), dtype=np.uint64))
        hashes[start : start + len(tokens)] = total[spans.ends] - total[spans.starts]
    return hashes

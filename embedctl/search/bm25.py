"""BM25 search with bm25s, and hybrid search that combines its results with those of a model.

A token is a sequence of letters and digits after case folding. In scripts without spaces between words, it is a pair of
adjacent characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from embedctl.errors import ConfigError
from embedctl.model.similarity import Similarity
from embedctl.search.exact import Ids, Searcher, Vectors

# Scripts without spaces between words: Han, kana, Thai, Lao, Khmer and Myanmar. Hangul is included although Korean has
# spaces, because its word endings make exact matches rare.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
TOKEN = re.compile(rf"[{UNSPACED}\U00020000-\U0003ffff]+|[^\W{UNSPACED}\U00020000-\U0003ffff]+")
STARTS_UNSPACED = re.compile(rf"[{UNSPACED}\U00020000-\U0003ffff]")


def tokenize(text: str) -> Iterator[str]:
    """Yield the tokens of a text.

    In a script without spaces they are the pairs of adjacent characters, or a character that has no neighbour.
    """
    for part in TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(part) > 1 and STARTS_UNSPACED.match(part):
            yield from (first + second for first, second in pairwise(part))
        else:
            yield part


class BM25Index:
    """A BM25 index (Lucene's variant) of texts.

    Raises:
        ConfigError: bm25s is not installed.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        try:
            import bm25s
        except ImportError:
            hint = "run `pip install 'embedctl[bm25]'`"
            raise ConfigError("--also bm25: the package bm25s is not installed", hint) from None
        self.vocabulary: dict[str, int] = {}
        ids = [[self.vocabulary.setdefault(token, len(self.vocabulary)) for token in tokenize(text)] for text in texts]
        self.bm25 = bm25s.BM25()
        if self.vocabulary:
            corpus = bm25s.tokenization.Tokenized(ids=ids, vocab=self.vocabulary)
            self.bm25.index(corpus, create_empty_token=False, show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> Ids:
        """Return the ids (Q, k) of the k texts with the highest scores.

        If fewer than k texts share a token with the query, the other ids are -1.
        """
        found = np.full((len(queries), k), -1, dtype=np.int64)
        for number, query in enumerate(queries):
            token_ids = [self.vocabulary[token] for token in tokenize(query) if token in self.vocabulary]
            if token_ids:
                scores = self.bm25.get_scores_from_ids(token_ids)
                best = np.argsort(-scores, kind="stable")[:k]
                best = best[scores[best] > 0]
                found[number, : len(best)] = best
        return found


def hybrid_searcher(
    dense: Searcher,
    bm25: BM25Index,
    queries: Sequence[str],
    query_QH: Vectors,
    corpus_DH: Vectors,
    similarity: Similarity,
) -> Searcher:
    """Return a searcher that interleaves the results of `dense` and BM25, without duplicates.

    All scores are similarities of the model's vectors.
    """

    def _search(rows: Ids, k: int) -> tuple[Vectors, Ids]:
        ids = dense(rows, k)[1]
        bm25_ids = bm25.search([queries[row] for row in rows], ids.shape[1])
        merged = np.full((len(ids), 2 * ids.shape[1]), -1, dtype=np.int64)
        merged[:, 0::2], merged[:, 1::2] = ids, bm25_ids
        for row in merged:
            distinct = list(dict.fromkeys(row[row >= 0].tolist()))
            row[: len(distinct)], row[len(distinct) :] = distinct, -1
        pairs = zip(query_QH[rows], merged, strict=True)
        scores = np.stack([similarity.pair_scores(query, corpus_DH[found]) for query, found in pairs])
        return np.where(merged >= 0, scores, -np.inf).astype(np.float32), merged

    return _search

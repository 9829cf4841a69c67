"""Lexical search by BM25 (bm25s), and how its candidates are mixed with a model's.

Words are runs of letters and digits in one case; in scripts that put no spaces between words, pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from embedctl.errors import ConfigError
from embedctl.search.exact import Finder, Ids, Vectors

# Han, kana, Thai, Lao, Khmer and Myanmar; Hangul has spaces, but its endings make whole words rare.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
TOKEN = re.compile(rf"[{UNSPACED}\U00020000-\U0003ffff]+|[^\W{UNSPACED}\U00020000-\U0003ffff]+")
STARTS_UNSPACED = re.compile(rf"[{UNSPACED}\U00020000-\U0003ffff]")


def tokens(text: str) -> Iterator[str]:
    """The words of a text; of a run of unspaced characters its pairs, or the one character."""
    for run in TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()):
        if len(run) > 1 and STARTS_UNSPACED.match(run):
            yield from (first + second for first, second in pairwise(run))
        else:
            yield run


class Lexical:
    """BM25 (Lucene's variant) over texts.

    Args:
        texts: D texts.

    Raises:
        ConfigError: bm25s is not installed.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        try:
            import bm25s
        except ImportError:
            raise ConfigError("--also bm25: bm25s is not installed", "pip install 'embedctl[bm25]'") from None
        self.words: dict[str, int] = {}
        ids = [[self.words.setdefault(word, len(self.words)) for word in tokens(text)] for text in texts]
        self.engine = bm25s.BM25()
        if self.words:
            corpus = bm25s.tokenization.Tokenized(ids=ids, vocab=self.words)
            self.engine.index(corpus, create_empty_token=False, show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> Ids:
        """The ids (Q, k) of the k texts of highest score, -1 where fewer share a word with the query."""
        found = np.full((len(queries), k), -1, dtype=np.int64)
        for place, query in enumerate(queries):
            known = [self.words[word] for word in tokens(query) if word in self.words]
            if known:
                scores = self.engine.get_scores_from_ids(known)
                best = np.argsort(-scores, kind="stable")[:k]
                best = best[scores[best] > 0]
                found[place, : len(best)] = best
        return found


def mixed(dense: Finder, lexical: Lexical, queries: Sequence[str], query_QH: Vectors, corpus_DH: Vectors) -> Finder:
    """Finds what a model and BM25 find, by turns, each once; the scores are the model's for all."""

    def _find(rows: slice, k: int) -> tuple[Vectors, Ids]:
        ids = dense(rows, k)[1]
        words = lexical.search(queries[rows], ids.shape[1])
        merged = np.full((len(ids), 2 * ids.shape[1]), -1, dtype=np.int64)
        merged[:, 0::2], merged[:, 1::2] = ids, words
        for row in merged:
            distinct = list(dict.fromkeys(row[row >= 0].tolist()))
            row[: len(distinct)], row[len(distinct) :] = distinct, -1
        scores = np.stack([corpus_DH[own] @ query for own, query in zip(merged, query_QH[rows], strict=True)])
        return np.where(merged >= 0, scores, -np.inf).astype(np.float32), merged

    return _find

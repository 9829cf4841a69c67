"""BM25: tokens and character pairs, scores computed by hand, and hybrid search."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embedctl.model.similarity import COSINE
from embedctl.search.bm25 import BM25Index, hybrid_searcher, tokenize
from embedctl.search.exact import exact_searcher

TEXTS = ["river stone", "river river cloud", "音乐天气", "天气", "engine market theory", "cloud"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The River's Stone!", ["the", "river", "s", "stone"]),
        ("音乐天气", ["音乐", "乐天", "天气"]),
        ("河 mRNA疫苗", ["河", "mrna", "疫苗"]),
        ("ＡＢ１", ["ab1"]),
        ("?!", []),
    ],
)
def test_tokens_are_words_or_character_pairs(text, expected):
    assert list(tokenize(text)) == expected


def rank_by_formula(query: str) -> list[int]:
    """Return the ids by Lucene's BM25 with k1 1.5 and b 0.75, computed with its formula."""
    documents = [list(tokenize(text)) for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for token in tokenize(query):
            frequency = sum(token in other for other in documents)
            idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
            count = document.count(token)
            score += idf * count / (count + 1.5 * (0.25 + 0.75 * len(document) / mean))
        scores.append(score)
    return [index for index in sorted(range(6), key=lambda index: -scores[index]) if scores[index] > 0]


@pytest.mark.parametrize("query", ["river cloud", "天气", "the market", "unknown", ""])
def test_the_order_is_that_of_the_formula(query):
    (found,) = BM25Index(TEXTS).search([query], 6)
    assert [index for index in found.tolist() if index >= 0] == rank_by_formula(query)


def test_hybrid_results_alternate_without_duplicates_and_have_the_scores_of_the_model():
    corpus = np.array([[0.1], [0.2], [0.9], [0.8], [0.7], [0.6]], np.float32)
    queries = np.ones((2, 1), np.float32)
    dense = exact_searcher(queries, corpus, similarity=COSINE)
    search = hybrid_searcher(dense, BM25Index(TEXTS), ["river", "unknown"], queries, corpus, COSINE)
    scores, ids = search(np.arange(2), 3)
    assert ids[0].tolist() == [2, 1, 3, 0, 4, -1]
    assert ids[1].tolist() == [2, 3, 4, -1, -1, -1]
    np.testing.assert_allclose(scores[0], [0.9, 0.2, 0.8, 0.1, 0.7, -np.inf])

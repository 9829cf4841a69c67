"""BM25 beside a model: words and character pairs, the formula by hand, candidates taken by turns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embedctl.search.bm25 import Lexical, mixed, tokens
from embedctl.search.exact import exact

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
def test_words_and_pairs_of_characters(text, expected):
    assert list(tokens(text)) == expected


def by_hand(query: str) -> list[int]:
    """Lucene's BM25 with k1 1.5 and b 0.75."""
    documents = [list(tokens(text)) for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in tokens(query):
            having = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            count = document.count(word)
            score += idf * count / (count + 1.5 * (0.25 + 0.75 * len(document) / mean))
        scores.append(score)
    return [place for place in sorted(range(6), key=lambda place: -scores[place]) if scores[place] > 0]


@pytest.mark.parametrize("query", ["river cloud", "天气", "the market", "unknown", ""])
def test_the_ranking_is_the_formulas(query):
    (found,) = Lexical(TEXTS).search([query], 6)
    assert [place for place in found.tolist() if place >= 0] == by_hand(query)


def test_candidates_are_taken_by_turns_each_once_with_the_models_scores():
    corpus = np.array([[0.1], [0.2], [0.9], [0.8], [0.7], [0.6]], np.float32)
    queries = np.ones((2, 1), np.float32)
    find = mixed(exact(queries, corpus), Lexical(TEXTS), ["river", "unknown"], queries, corpus)
    scores, ids = find(slice(0, 2), 3)
    assert ids[0].tolist() == [2, 1, 3, 0, 4, -1]
    assert ids[1].tolist() == [2, 3, 4, -1, -1, -1]
    np.testing.assert_allclose(scores[0], [0.9, 0.2, 0.8, 0.1, 0.7, -np.inf])

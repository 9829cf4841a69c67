"""Negatives equal those of a reference that ranks the whole corpus, also where limits reject the first passages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from embedctl.mining import miner as miner_module
from embedctl.mining.candidates import Limits, Selection
from embedctl.mining.filters import exclude_texts
from embedctl.mining.miner import CandidateFilter, Miner
from embedctl.model.similarity import COSINE, normalize
from embedctl.search.bm25 import BM25Index, hybrid_searcher
from embedctl.search.exact import Searcher, exact_searcher
from embedctl.search.faiss_index import approximate_searcher

ROWS, PASSAGES, SELECTION = 40, 500, Selection(3, 12, 5, "top", seed=0)
GENERATOR = np.random.default_rng(5)
QUERY_QH = normalize(GENERATOR.standard_normal((ROWS, 6)).astype(np.float32))
CORPUS_DH = normalize(GENERATOR.standard_normal((PASSAGES, 6)).astype(np.float32))
POSITIVES = GENERATOR.integers(0, PASSAGES, ROWS)  # at random: for some rows nearly the whole corpus scores higher
SCORES = QUERY_QH.astype(np.float64) @ CORPUS_DH.astype(np.float64).T
WORDS = [f"w{index % 7}" for index in range(PASSAGES)]
QUERIES = [f"w{row % 7}" for row in range(ROWS)]


def exact() -> Searcher:
    return exact_searcher(QUERY_QH, CORPUS_DH, "cpu", similarity=COSINE)


def approximate(kind: str) -> Searcher:
    depth = SELECTION.stop + 1
    return approximate_searcher(kind, QUERY_QH, CORPUS_DH, depth, 0, exact(), COSINE)


def hybrid() -> Searcher:
    return hybrid_searcher(exact(), BM25Index(WORDS), QUERIES, QUERY_QH, CORPUS_DH, COSINE)


def interleaved(row: int) -> list[int]:
    """Return the passages of the model and those with the word of the query (equal scores), in turn, without copies."""
    by_model, by_words = np.argsort(-SCORES[row]), [id_ for id_, word in enumerate(WORDS) if word == QUERIES[row]]
    order = []
    for position, id_ in enumerate(by_model.tolist()):
        order += [id_, *by_words[position : position + 1]]
    return list(dict.fromkeys(order))


def expected(row: int, ranked: list[int], is_within: Callable[[float, float], bool]) -> list[int]:
    """Return positions 3 to 11 of the passages within the limit, the first 5; earlier ones if fewer than 5 follow."""
    positive = SCORES[row, POSITIVES[row]]
    allowed = [id_ for id_ in ranked if id_ != POSITIVES[row] and is_within(SCORES[row, id_], positive)]
    start = max(0, min(3, len(allowed) - 5))
    return allowed[start:12][:5]


CASES = [
    (Limits(), lambda score, positive: True),
    (Limits(margin=0.1), lambda score, positive: score <= positive - 0.1),
    (Limits(relative_margin=0.05), lambda score, positive: score <= positive - 0.05 * abs(positive)),
    (Limits(max_score=-0.2), lambda score, positive: score <= -0.2),
    (Limits(min_score=0.7), lambda score, positive: score >= 0.7),
    (Limits(margin=0.1, min_score=-0.5), lambda score, positive: -0.5 <= score <= positive - 0.1),
]


@pytest.mark.parametrize("search", ["exact", "hnsw", "ivf", "hybrid"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_negatives_are_those_of_a_ranking_of_the_whole_corpus(case, search, monkeypatch):
    monkeypatch.setattr(miner_module, "MAX_RESULTS", 1000)  # repeated searches are for a few rows each
    limits, is_within = CASES[case]
    searcher = exact() if search == "exact" else hybrid() if search == "hybrid" else approximate(search)
    filters = {"known positives": exclude_texts([np.array([positive]) for positive in POSITIVES])}
    references = SCORES[np.arange(ROWS), POSITIVES].astype(np.float32)
    miner = Miner(CandidateFilter(filters, limits, references), SELECTION, max_excluded=1)
    mined_rows = list(miner.mine(range(ROWS), searcher, block=16))
    ranked = interleaved if search == "hybrid" else lambda row: np.argsort(-SCORES[row]).tolist()
    assert [mined.candidates.row for mined in mined_rows] == list(range(ROWS))
    assert [mined.negatives.ids.tolist() for mined in mined_rows] == [
        expected(row, ranked(row), is_within) for row in range(ROWS)
    ]


def test_a_minimum_score_does_not_make_the_search_deeper():
    depths = []

    def searcher(rows, depth):
        depths.append(depth)
        return exact()(rows, depth)

    limits = Limits(min_score=0.999)
    miner = Miner(CandidateFilter({}, limits, np.ones(ROWS, np.float32)), SELECTION, max_excluded=0)
    list(miner.mine(range(ROWS), searcher))
    assert depths == [12]

"""Selection of negatives with one-dimensional vectors, so that the search results of every query are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedctl.data.passages import Passage
from embedctl.data.rows import Row
from embedctl.mining.candidates import Limits, MinedRow, Selection
from embedctl.mining.data import collect_data
from embedctl.mining.filters import exclude_query, exclude_texts
from embedctl.mining.job import MiningResult
from embedctl.mining.miner import CandidateFilter, Miner, RandomFill, fill_relaxed
from embedctl.model.similarity import DOT
from embedctl.search.exact import exact_searcher

CORPUS = [f"text {index}" for index in range(40)]
VECTORS = np.linspace(1, 0.1, 40, dtype=np.float32)[:, None]  # in descending order of the score with the query (1,)
NO_LIMITS = Limits()


def build_miner(
    selection: Selection,
    rows: list[Row],
    corpus: list[str] = CORPUS,
    limits: Limits = NO_LIMITS,
    reference: float = np.inf,
) -> Miner:
    data = collect_data(rows, map(Passage, corpus), keep_negatives=False)
    excluded, query = exclude_texts(data.known_positives), exclude_query(data.hash_Q, data.hash_P2)
    filters = {"known positives": excluded, "query": query}
    references = np.full(len(rows), reference, np.float32)
    return Miner(CandidateFilter(filters, limits, references), selection, data.max_excluded)


def mine(selection: Selection, rows: list[Row], corpus: list[str] = CORPUS) -> list[list[int]]:
    """Return the indices of the negatives of each row."""
    return ids(run(build_miner(selection, rows, corpus), len(rows), len(corpus)))


def run(miner: Miner, rows: int, corpus_size: int = 40, block: int = 1024) -> list[MinedRow]:
    searcher = exact_searcher(np.ones((rows, 1), np.float32), VECTORS[:corpus_size], similarity=DOT)
    return list(miner.mine(range(rows), searcher, block))


def count(miner: Miner, mined_rows: list[MinedRow]) -> MiningResult:
    result = MiningResult()
    for mined in mined_rows:
        result.add(mined, miner.selection.count)
    return result


def ids(mined_rows: list[MinedRow]) -> list[list[int]]:
    return [mined.negatives.ids.tolist() for mined in mined_rows]


def top(start: int, stop: int, count: int) -> Selection:
    return Selection(start, stop, count, "top", seed=0)


def test_top_selects_the_most_similar_of_the_range():
    assert mine(top(5, 30, 4), [Row("q", ("elsewhere",))]) == [[5, 6, 7, 8]]


def test_positions_count_allowed_candidates_only():
    rows = [Row("q", ("text 0", "text 3"))]
    assert mine(top(0, 30, 4), rows) == [[1, 2, 4, 5]]
    assert mine(top(2, 30, 4), rows) == [[4, 5, 6, 7]]


def test_a_positive_of_any_row_with_the_same_query_is_never_selected():
    rows = [Row("q", ("text 0",)), Row("r", ("text 1",)), Row("q", ("text 2",))]
    assert mine(top(0, 10, 3), rows) == [[1, 3, 4], [0, 2, 3], [1, 3, 4]]


def test_the_text_of_the_query_is_never_selected():
    assert mine(top(0, 10, 3), [Row("text 1", ("text 0",))]) == [[2, 3, 4]]


def test_graded_texts_are_never_selected_whatever_their_grade():
    assert mine(top(0, 10, 2), [Row("q", ("text 0", "text 1"), scores=(1.0, 0.0))]) == [[2, 3]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(40, [10, 11, 12, 13]), (14, [9, 10, 11, 12]), (8, [3, 4, 5, 6]), (5, [0, 1, 2, 3]), (3, [0, 1]), (1, [])],
)
def test_the_range_starts_earlier_if_too_few_candidates_follow(size, expected):
    """The positive is the last text of the corpus."""
    corpus = CORPUS[:size]
    assert mine(top(10, 210, 4), [Row("q", (corpus[-1],))], corpus) == [expected]


def test_the_end_of_the_range_is_exclusive():
    rows = [Row("q", ("text 4",))]
    found = {index for seed in range(50) for index in mine(Selection(3, 8, 3, "random", seed), rows)[0]}
    assert found == {3, 5, 6, 7, 8}  # positions 3 to 7 of the allowed candidates


def test_the_search_is_deep_enough_for_a_query_with_many_positives():
    positives = tuple(CORPUS[:25])
    assert mine(top(2, 12, 10), [Row("q", positives), Row("r", ("x",))]) == [list(range(27, 37)), list(range(2, 12))]


def test_random_negatives_are_distinct_and_sorted_and_depend_on_seed_and_row_only():
    rows = [Row(f"q{number}", ("x",)) for number in range(6)]
    selection = Selection(0, 40, 5, "random", seed=7)
    found = mine(selection, rows)
    assert all(row == sorted(set(row)) and len(row) == 5 for row in found)
    assert found == mine(selection, rows)
    assert len({tuple(row) for row in found}) == 6
    assert mine(Selection(0, 40, 5, "random", seed=8), rows) != found
    assert mine(selection, rows[:3]) == found[:3]


def test_random_sampling_is_uniform():
    rows = [Row(f"q{number}", ("x",)) for number in range(2000)]
    counts = np.bincount(np.concatenate(mine(Selection(0, 40, 10, "random", 1), rows)))
    expected, deviation = 500, np.sqrt(2000 * 0.25 * 0.75)
    assert np.abs(counts - expected).max() < 4.5 * deviation


def test_the_block_size_does_not_change_the_result():
    rows = [Row(f"q{number}", (f"text {number}",)) for number in range(20)]
    selection = Selection(1, 20, 3, "random", seed=3)
    expected = mine(selection, rows)
    assert ids(run(build_miner(selection, rows), 20, block=3)) == expected


def test_filters_receive_the_row_and_the_remaining_candidates_and_rejections_are_counted():
    calls = []

    def below_half(row, ids, scores):
        calls.append((row, ids.tolist()))
        return scores < 0.5

    miner = build_miner(top(0, 39, 3), [Row("text 1", ("text 0",)), Row("r", ("elsewhere",))])
    filters = {**miner.candidate_filter.filters, "score": below_half}
    miner = replace(miner, candidate_filter=replace(miner.candidate_filter, filters=filters))
    mined_rows = run(miner, 2)
    first = int((VECTORS >= 0.5).sum())
    assert ids(mined_rows) == [[first, first + 1, first + 2]] * 2
    assert calls == [(0, list(range(2, 40))), (1, list(range(40)))]
    assert count(miner, mined_rows).rejected == {"known positives": 1, "query": 1, "score": 2 * first - 2}


def test_short_rows_and_extended_ranges_are_counted():
    miner = build_miner(top(2, 10, 4), [Row("q", ("text 0",)), Row("r", ("x",))], CORPUS[:4])
    mined_rows = run(miner, 2, 4)
    assert [len(row) for row in ids(mined_rows)] == [3, 4]
    result = count(miner, mined_rows)
    assert (result.short_rows, result.nearer_rows, result.negatives, result.rows) == (1, 2, 7, 2)


def test_the_weight_in_weighted_sampling_is_one_over_the_number_in_the_range():
    rows = [Row("q", ("x",))]
    counts = np.bincount([mine(Selection(0, 4, 1, "weighted", seed), rows)[0][0] for seed in range(3000)])
    expected = 3000 * (1 / np.arange(1, 5)) / (1 / np.arange(1, 5)).sum()
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(3000 * 0.25)


SCORES = VECTORS[:, 0].astype(np.float64)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(max_score=0.8), SCORES <= 0.8),
        (Limits(min_score=0.3), SCORES >= 0.3),
        (Limits(margin=0.25), SCORES + 0.25 <= 0.7),
        (Limits(relative_margin=0.1), SCORES <= 0.7 - 0.07),
        (Limits(0.5, 0.2, 0.05, 0.5), (SCORES <= 0.35) & (SCORES >= 0.2)),
    ],
)
def test_limits_reject_and_count_candidates(limits, kept):
    miner = build_miner(top(0, 40, 40), [Row("q", ("elsewhere",))], limits=limits, reference=0.7)
    mined_rows = run(miner, 1)
    assert ids(mined_rows) == [np.flatnonzero(kept).tolist()]
    assert count(miner, mined_rows).rejected.total() == 40 - kept.sum()


def test_the_shortage_of_a_row_counts_rejections_by_reason():
    miner = build_miner(top(0, 40, 40), [Row("q", ("text 39",))], limits=Limits(max_score=0.5), reference=1.0)
    (mined,) = run(miner, 1)
    above = int((SCORES > 0.5).sum())
    rejected = {"known positives": 1, "max score": above}
    assert mined.shortage(40) == {"negatives": 39 - above, "wanted": 40, "candidates": 40, "rejected": rejected}


def test_negatives_above_the_positive_are_counted():
    miner = build_miner(top(0, 40, 5), [Row("q", ("elsewhere",))], reference=0.95)
    assert count(miner, run(miner, 1)).above_positive == int((SCORES[:5] > 0.95).sum()) > 0


def test_the_id_minus_1_of_a_search_result_is_not_a_candidate():
    miner = build_miner(top(0, 40, 5), [Row("q", ("elsewhere",))])
    scores, found = np.array([[0.9, -np.inf, 0.3]], np.float32), np.array([[7, -1, 3]])
    (mined,) = miner.mine(range(1), lambda rows, depth: (scores, found))
    assert mined.negatives.ids.tolist() == [7, 3]
    assert mined.candidates.found == 2


def filter_with(limits: Limits, positives: list[int]) -> CandidateFilter:
    """Return the filter and the limits of one row with the reference score 1."""
    return CandidateFilter({"known positives": exclude_texts([np.array(positives)])}, limits, np.ones(1, np.float32))


def test_relax_adds_the_smallest_violations_first_and_never_a_positive():
    candidate_filter = filter_with(Limits(max_score=0.5, min_score=0.45), [20, 0])
    (mined,) = run(Miner(candidate_filter, Selection(0, 40, 8, "top", 0), 3, fill=fill_relaxed), 1)
    inside = [index for index in range(40) if 0.45 <= SCORES[index] <= 0.5]
    found = mined.negatives.ids.tolist()
    assert found[: len(inside)] == inside
    outside = [index for index in range(40) if index not in (*inside, 20, 0)]
    violation = {index: max(SCORES[index] - 0.5, 0.45 - SCORES[index]) for index in outside}
    assert found[len(inside) :] == sorted(outside, key=violation.__getitem__)[: 8 - len(inside)]
    assert mined.filled == 8 - len(inside)


def test_random_passages_pass_the_filters_and_all_limits_except_the_minimum_score():
    candidate_filter = filter_with(Limits(max_score=0.6, min_score=0.5), [30, 39])
    below = 0
    for seed in range(20):
        fill = RandomFill(candidate_filter, seed, np.ones((1, 1), np.float32), VECTORS, DOT)
        (found,) = ids(run(Miner(candidate_filter, Selection(0, 40, 12, "top", seed), 3, fill=fill), 1))
        assert len(found) == len(set(found)) == 12
        assert not {30, 39} & set(found)
        assert all(SCORES[index] <= 0.6 for index in found)
        below += sum(SCORES[index] < 0.5 for index in found)
    assert below


def test_random_passages_exclude_those_that_the_reranker_limits_rejected():
    candidate_filter = filter_with(Limits(), [39])
    candidates = candidate_filter.apply(0, np.arange(39), VECTORS[:39, 0])
    candidates.rerank_scores[:30], candidates.violation[:30] = 1.0, 0.1
    selected = candidates.take(np.array([30, 31]))
    for seed in range(20):
        found = RandomFill(candidate_filter, seed, np.ones((1, 1), np.float32), VECTORS, DOT)(candidates, selected, 5)
        assert set(found.ids.tolist()) <= set(range(32, 39))
        np.testing.assert_allclose(found.similarities, SCORES[found.ids], atol=1e-6)

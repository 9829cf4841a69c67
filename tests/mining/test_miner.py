"""Mining by hand: vectors on a line, so that the ranking of every query is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.candidates import Choice, Limits, Mined
from embedctl.mining.filters import not_among, not_the_query
from embedctl.mining.job import MiningResult
from embedctl.mining.miner import Miner, RandomTexts, Sieve, relaxed
from embedctl.mining.pool import gather
from embedctl.search.exact import exact

CORPUS = [f"text {place}" for place in range(40)]
VECTORS = np.linspace(1, 0.1, 40, dtype=np.float32)[:, None]  # the query (1,) finds them in their order
ANY = Limits()


def miner(choice: Choice, rows: list[Row], corpus: list[str] = CORPUS, limits: Limits = ANY, positive=np.inf) -> Miner:
    data = gather(rows, corpus, keep_negatives=False)
    filters = {"answers": not_among(data.positives), "query": not_the_query(data.normal_Q, data.normal_P)}
    return Miner(Sieve(filters, limits, np.full(len(rows), positive, np.float32)), choice, data.most_excluded)


def mine(choice: Choice, rows: list[Row], corpus: list[str] = CORPUS) -> list[list[int]]:
    return ids(run(miner(choice, rows, corpus), len(rows), len(corpus)))


def run(one: Miner, rows: int, size: int = 40, block: int = 1024) -> list[Mined]:
    return list(one.mine(range(rows), exact(np.ones((rows, 1), np.float32), VECTORS[:size]), block))


def counted(one: Miner, found: list[Mined]) -> MiningResult:
    result = MiningResult()
    for mined in found:
        result.add(mined, one.choice.number)
    return result


def ids(found: list[Mined]) -> list[list[int]]:
    return [mined.negatives.ids.tolist() for mined in found]


def top(first: int, last: int, number: int) -> Choice:
    return Choice(first, last, number, "top", seed=0)


def test_the_nearest_of_the_range_of_ranks():
    assert mine(top(5, 30, 4), [Row("q", ("elsewhere",))]) == [[5, 6, 7, 8]]


def test_ranks_count_among_what_may_be_taken():
    rows = [Row("q", ("text 0", "text 3"))]
    assert mine(top(0, 30, 4), rows) == [[1, 2, 4, 5]]
    assert mine(top(2, 30, 4), rows) == [[4, 5, 6, 7]]


def test_a_positive_of_any_row_of_the_same_query_is_never_taken():
    rows = [Row("q", ("text 0",)), Row("r", ("text 1",)), Row("q", ("text 2",))]
    assert mine(top(0, 10, 3), rows) == [[1, 3, 4], [0, 2, 3], [1, 3, 4]]


def test_the_query_itself_is_never_taken():
    assert mine(top(0, 10, 3), [Row("text 1", ("text 0",))]) == [[2, 3, 4]]


def test_graded_texts_are_known_whatever_their_grade():
    assert mine(top(0, 10, 2), [Row("q", ("text 0", "text 1"), scores=(1.0, 0.0))]) == [[2, 3]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(40, [10, 11, 12, 13]), (14, [9, 10, 11, 12]), (8, [3, 4, 5, 6]), (5, [0, 1, 2, 3]), (3, [0, 1]), (1, [])],
)
def test_the_range_is_clipped_to_what_there_is(size, expected):
    """The answer is the last document of the corpus."""
    corpus = CORPUS[:size]
    assert mine(top(10, 210, 4), [Row("q", (corpus[-1],))], corpus) == [expected]


def test_the_range_ends_where_it_is_said_to():
    found = {place for seed in range(50) for place in mine(Choice(3, 8, 3, "random", seed), [Row("q", ("text 4",))])[0]}
    assert found == {3, 5, 6, 7, 8}  # ranks 3 to 7 of what may be taken


def test_a_query_of_many_positives_still_has_a_full_range():
    answers = tuple(CORPUS[:25])
    assert mine(top(2, 12, 10), [Row("q", answers), Row("r", ("x",))]) == [list(range(27, 37)), list(range(2, 12))]


def test_random_negatives_are_distinct_nearest_first_and_follow_from_seed_and_row():
    rows = [Row(f"q{number}", ("x",)) for number in range(6)]
    choice = Choice(0, 40, 5, "random", seed=7)
    found = mine(choice, rows)
    assert all(row == sorted(set(row)) and len(row) == 5 for row in found)
    assert found == mine(choice, rows)
    assert len({tuple(row) for row in found}) == 6
    assert mine(Choice(0, 40, 5, "random", seed=8), rows) != found
    assert mine(choice, rows[:3]) == found[:3]


def test_every_candidate_is_drawn_about_as_often():
    drawn = np.bincount(
        np.concatenate(mine(Choice(0, 40, 10, "random", 1), [Row(f"q{n}", ("x",)) for n in range(2000)]))
    )
    expected, spread = 500, np.sqrt(2000 * 0.25 * 0.75)
    assert np.abs(drawn - expected).max() < 4.5 * spread


def test_blocks_of_queries_change_nothing():
    rows = [Row(f"q{number}", (f"text {number}",)) for number in range(20)]
    choice = Choice(1, 20, 3, "random", seed=3)
    whole = mine(choice, rows)
    assert ids(run(miner(choice, rows), 20, block=3)) == whole


def test_filters_see_the_row_its_candidates_and_their_scores_and_are_counted():
    seen = []

    def under_one_half(row, ids, scores):
        seen.append((row, ids.tolist()))
        return scores < 0.5

    one = miner(top(0, 38, 3), [Row("text 1", ("text 0",)), Row("r", ("elsewhere",))])
    one = replace(one, sieve=replace(one.sieve, filters={**one.sieve.filters, "score": under_one_half}))
    found = run(one, 2)
    first = int((VECTORS >= 0.5).sum())
    assert ids(found) == [[first, first + 1, first + 2]] * 2
    assert seen == [(0, list(range(2, 40))), (1, list(range(40)))]
    assert counted(one, found).rejected == {"answers": 1, "query": 1, "score": 2 * first - 2}


def test_rows_that_get_fewer_or_nearer_ones_are_counted():
    one = miner(top(2, 10, 4), [Row("q", ("text 0",)), Row("r", ("x",))], CORPUS[:4])
    found = run(one, 2, 4)
    assert [len(row) for row in ids(found)] == [3, 4]
    result = counted(one, found)
    assert (result.short_rows, result.nearer_rows, result.negatives, result.rows) == (1, 2, 7, 2)


def test_weighted_draws_go_by_one_over_the_rank():
    drawn = np.bincount([mine(Choice(0, 4, 1, "weighted", seed), [Row("q", ("x",))])[0][0] for seed in range(3000)])
    expected = 3000 * (1 / np.arange(1, 5)) / (1 / np.arange(1, 5)).sum()
    assert np.abs(drawn - expected).max() < 4.5 * np.sqrt(3000 * 0.25)


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
def test_limits_leave_what_they_say_and_count_the_rest(limits, kept):
    one = miner(top(0, 40, 40), [Row("q", ("elsewhere",))], limits=limits, positive=0.7)
    found = run(one, 1)
    assert ids(found) == [np.flatnonzero(kept).tolist()]
    assert counted(one, found).rejected.total() == 40 - kept.sum()


def test_a_row_says_why_it_got_fewer():
    one = miner(top(0, 40, 40), [Row("q", ("text 39",))], limits=Limits(max_score=0.5), positive=1.0)
    (mined,) = run(one, 1)
    above = int((SCORES > 0.5).sum())
    rejected = {"answers": 1, "max score": above}
    assert mined.why(40) == {"negatives": 39 - above, "wanted": 40, "candidates": 40, "rejected": rejected}


def test_texts_that_score_above_the_positive_are_counted():
    one = miner(top(0, 40, 5), [Row("q", ("elsewhere",))], positive=0.95)
    assert counted(one, run(one, 1)).above_positive == int((SCORES[:5] > 0.95).sum()) > 0


def test_what_a_search_did_not_find_is_no_candidate():
    one = miner(top(0, 40, 5), [Row("q", ("elsewhere",))])
    scores, found = np.array([[0.9, -np.inf, 0.3]], np.float32), np.array([[7, -1, 3]])
    (mined,) = one.mine(range(1), lambda rows, depth: (scores, found))
    assert mined.negatives.ids.tolist() == [7, 3]
    assert mined.candidates.found == 2


def fillable(limits: Limits, positives: list[int]) -> Sieve:
    return Sieve({"answers": not_among([np.array(positives)])}, limits, np.ones(1, np.float32))


def test_relaxing_takes_the_least_outside_and_never_an_answer():
    limited = fillable(Limits(max_score=0.5, min_score=0.45), [20, 0])
    (mined,) = run(Miner(limited, Choice(0, 40, 8, "top", 0), 3, filler=relaxed), 1)
    inside = [place for place in range(40) if 0.45 <= SCORES[place] <= 0.5]
    found = mined.negatives.ids.tolist()
    assert found[: len(inside)] == inside
    outside = [place for place in range(40) if place not in (*inside, 20, 0)]
    distance = {place: max(SCORES[place] - 0.5, 0.45 - SCORES[place]) for place in outside}
    assert found[len(inside) :] == sorted(outside, key=distance.__getitem__)[: 8 - len(inside)]
    assert mined.filled == 8 - len(inside)


def test_random_texts_fill_but_none_that_filters_or_upper_limits_reject():
    limited = fillable(Limits(max_score=0.6, min_score=0.5), [30, 39])
    below = 0
    for seed in range(20):
        filler = RandomTexts(limited, seed, np.ones((1, 1), np.float32), VECTORS)
        (found,) = ids(run(Miner(limited, Choice(0, 40, 12, "top", seed), 3, filler=filler), 1))
        assert len(found) == len(set(found)) == 12
        assert not {30, 39} & set(found)
        assert all(SCORES[place] <= 0.6 for place in found)
        below += sum(SCORES[place] < 0.5 for place in found)
    assert below


def test_random_texts_are_none_that_the_reranker_refused():
    limited = fillable(Limits(), [39])
    candidates = limited.sift(0, np.arange(39), VECTORS[:39, 0])
    candidates.rerank_scores[:30], candidates.excess[:30] = 1.0, 0.1
    for seed in range(20):
        found = RandomTexts(limited, seed, np.ones((1, 1), np.float32), VECTORS)(
            candidates, candidates.take(np.array([30, 31])), 5
        )
        assert set(found.ids.tolist()) <= set(range(32, 39))
        np.testing.assert_allclose(found.similarities, SCORES[found.ids], atol=1e-6)

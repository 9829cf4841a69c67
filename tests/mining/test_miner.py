"""Mining by hand: vectors on a line, so that the ranking of every query is known."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.candidates import Choice
from embedctl.mining.fill import FromTheCorpus, relaxing
from embedctl.mining.filters import Answers, Limits, hashes, no_answer, normalised, not_the_query
from embedctl.mining.miner import Miner
from embedctl.search.finder import exact

CORPUS = [f"text {place}" for place in range(40)]
VECTORS = np.linspace(1, 0.1, 40, dtype=np.float32)[:, None]  # the query (1,) finds them in their order


def miner(choice: Choice, rows: list[Row], corpus: list[str] = CORPUS) -> Miner:
    answers, queries = Answers(), [row.query for row in rows]
    for row in rows:
        answers.add(row)
    filters = {
        "answers": no_answer(queries, hashes(corpus), answers),
        "query": not_the_query(hashes(map(normalised, queries)), hashes(map(normalised, corpus))),
    }
    return Miner(filters, choice, answers.most + 1)


def mine(choice: Choice, rows: list[Row], corpus: list[str] = CORPUS) -> list[list[int]]:
    return run(miner(choice, rows, corpus), len(rows), len(corpus))


def run(one: Miner, rows: int, size: int = 40, block: int = 1024) -> list[list[int]]:
    finder = exact(np.ones((rows, 1), np.float32), VECTORS[:size])
    return [mined.ids.tolist() for mined in one.mine(range(rows), finder, block)]


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
    assert run(miner(choice, rows), 20, block=3) == whole


def test_filters_see_the_row_its_candidates_and_their_scores_and_are_counted():
    seen = []

    def under_one_half(row, ids, scores):
        seen.append((row, ids.tolist()))
        return scores < 0.5

    one = miner(top(0, 38, 3), [Row("text 1", ("text 0",)), Row("r", ("elsewhere",))])
    one.filters["score"] = under_one_half
    found = run(one, 2)
    first = int((VECTORS >= 0.5).sum())
    assert found == [[first, first + 1, first + 2]] * 2
    assert seen == [(0, list(range(2, 40))), (1, list(range(40)))]
    assert one.counts["rejected: answers"] == 1
    assert one.counts["rejected: query"] == 1
    assert one.counts["rejected: score"] == 2 * first - 2


def test_rows_that_get_fewer_or_nearer_ones_are_counted():
    one = miner(top(2, 10, 4), [Row("q", ("text 0",)), Row("r", ("x",))], CORPUS[:4])
    assert [len(ids) for ids in run(one, 2, 4)] == [3, 4]
    assert one.counts["short rows"] == 1
    assert one.counts["rows with nearer ranks"] == 2
    assert one.counts["negatives"] == 7


def test_weighted_draws_go_by_one_over_the_rank():
    drawn = np.bincount([mine(Choice(0, 4, 1, "weighted", seed), [Row("q", ("x",))])[0][0] for seed in range(3000)])
    expected = 3000 * (1 / np.arange(1, 5)) / (1 / np.arange(1, 5)).sum()
    assert np.abs(drawn - expected).max() < 4.5 * np.sqrt(3000 * 0.25)


def limited(limits: Limits, rows: list[Row], positive: float, number: int = 40) -> Miner:
    one = miner(top(0, 40, number), rows)
    one.limits, one.references = limits, np.full(len(rows), positive, np.float32)
    return one


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
    one = limited(limits, [Row("q", ("elsewhere",))], 0.7)
    (found,) = run(one, 1)
    assert found == np.flatnonzero(kept).tolist()
    rejected = {name: n for name, n in one.counts.items() if name.startswith("rejected: ")}
    assert sum(rejected.values()) == 40 - len(found)


def test_a_relative_margin_is_below_a_negative_positive_too():
    excess = Limits(relative_margin=0.5).excess(np.array([-0.5, -0.2], np.float32), -0.3)["relative margin"]
    assert (excess > 0).tolist() == [False, True]


def test_relaxing_takes_the_least_outside_and_never_an_answer():
    one = limited(Limits(max_score=0.5, min_score=0.45), [Row("q", ("text 20", "text 0"))], 1.0, 8)
    inside = [place for place in range(40) if 0.45 <= SCORES[place] <= 0.5]
    one.filler = relaxing
    (mined,) = one.mine(range(1), exact(np.ones((1, 1), np.float32), VECTORS))
    assert mined.ids[: len(inside)].tolist() == inside
    outside = [place for place in range(40) if place not in (*inside, 20, 0)]
    distance = {place: max(SCORES[place] - 0.5, 0.45 - SCORES[place]) for place in outside}
    assert mined.ids[len(inside) :].tolist() == sorted(outside, key=distance.__getitem__)[: 8 - len(inside)]
    assert mined.filled == one.counts["filled"] == 8 - len(inside)


def test_random_texts_fill_but_none_that_filters_or_upper_limits_reject():
    for seed in range(20):
        one = limited(Limits(max_score=0.6, min_score=0.5), [Row("q", ("text 30", "text 39"))], 1.0, 12)
        one.choice = Choice(0, 40, 12, "top", seed)
        one.filler = FromTheCorpus(one, np.ones((1, 1), np.float32), VECTORS)
        (found,) = run(one, 1)
        assert len(found) == len(set(found)) == 12
        assert not {30, 39} & set(found)
        assert all(SCORES[place] <= 0.6 for place in found)


def test_a_row_says_why_it_got_fewer():
    one = limited(Limits(max_score=0.5), [Row("q", ("text 39",))], 1.0)
    (mined,) = one.mine(range(1), exact(np.ones((1, 1), np.float32), VECTORS))
    above = int((SCORES > 0.5).sum())
    rejected = {"answers": 1, "max score": above}
    facts = {"negatives": 39 - above, "wanted": 40, "candidates": 40, "rejected": rejected}
    assert mined.why(one.choice) == facts


def test_texts_that_score_above_the_positive_are_counted():
    one = limited(Limits(), [Row("q", ("elsewhere",))], 0.95, 5)
    run(one, 1)
    assert one.counts["above their positive"] == int((SCORES[:5] > 0.95).sum()) > 0

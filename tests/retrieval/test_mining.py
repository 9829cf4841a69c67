"""Mining by hand: vectors on a line, so that the ranking of every query is known."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.retrieval import mining
from embedctl.retrieval.mining import Answers, Choice, Miner, hashes, no_answer, not_the_query

CORPUS = [f"text {place}" for place in range(40)]
VECTORS = np.linspace(1, 0.1, 40, dtype=np.float32)[:, None]  # the query (1,) finds them in their order


def miner(choice: Choice, rows: list[Row], corpus: list[str] = CORPUS) -> Miner:
    answers, queries = Answers(), [row.query for row in rows]
    for row in rows:
        answers.add(row)
    filters = {
        "answers": no_answer(queries, hashes(corpus), answers),
        "query": not_the_query(queries, hashes(corpus)),
    }
    return Miner(filters, choice, answers.most + 1)


def mine(choice: Choice, rows: list[Row], corpus: list[str] = CORPUS) -> list[list[int]]:
    found = miner(choice, rows, corpus).mine(np.ones((len(rows), 1), np.float32), VECTORS[: len(corpus)])
    return [ids.tolist() for ids in found]


def top(first: int, last: int, number: int) -> Choice:
    return Choice(first, last, number, random=False, seed=0)


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
    found = {place for seed in range(50) for place in mine(Choice(3, 8, 3, True, seed), [Row("q", ("text 4",))])[0]}
    assert found == {3, 5, 6, 7, 8}  # ranks 3 to 7 of what may be taken


def test_a_query_of_many_positives_still_has_a_full_range():
    answers = tuple(CORPUS[:25])
    assert mine(top(2, 12, 10), [Row("q", answers), Row("r", ("x",))]) == [list(range(27, 37)), list(range(2, 12))]


def test_random_negatives_are_distinct_nearest_first_and_follow_from_seed_and_row():
    rows = [Row(f"q{number}", ("x",)) for number in range(6)]
    choice = Choice(0, 40, 5, random=True, seed=7)
    found = mine(choice, rows)
    assert all(row == sorted(set(row)) and len(row) == 5 for row in found)
    assert found == mine(choice, rows)
    assert len({tuple(row) for row in found}) == 6
    assert mine(Choice(0, 40, 5, random=True, seed=8), rows) != found
    assert mine(choice, rows[:3]) == found[:3]


def test_every_candidate_is_drawn_about_as_often():
    drawn = np.bincount(np.concatenate(mine(Choice(0, 40, 10, True, 1), [Row(f"q{n}", ("x",)) for n in range(2000)])))
    expected, spread = 500, np.sqrt(2000 * 0.25 * 0.75)
    assert np.abs(drawn - expected).max() < 4.5 * spread


def test_blocks_of_queries_change_nothing(monkeypatch):
    rows = [Row(f"q{number}", (f"text {number}",)) for number in range(20)]
    choice = Choice(1, 20, 3, random=True, seed=3)
    whole = mine(choice, rows)
    monkeypatch.setitem(mining.QUERY_BLOCK, "cpu", 3)
    assert mine(choice, rows) == whole


def test_filters_see_the_row_its_candidates_and_their_scores_and_are_counted():
    seen = []

    def under_one_half(row, ids, scores):
        seen.append((row, ids.tolist()))
        return scores < 0.5

    one = miner(top(0, 38, 3), [Row("text 1", ("text 0",)), Row("r", ("elsewhere",))])
    one.filters["score"] = under_one_half
    found = [ids.tolist() for ids in one.mine(np.ones((2, 1), np.float32), VECTORS)]
    first = int((VECTORS >= 0.5).sum())
    assert found == [[first, first + 1, first + 2]] * 2
    assert seen == [(0, list(range(2, 40))), (1, list(range(40)))]
    assert one.counts["rejected: answers"] == 1
    assert one.counts["rejected: query"] == 1
    assert one.counts["rejected: score"] == 2 * first - 2


def test_rows_that_get_fewer_or_nearer_ones_are_counted():
    one = miner(top(2, 10, 4), [Row("q", ("text 0",)), Row("r", ("x",))], CORPUS[:4])
    assert [len(ids) for ids in one.mine(np.ones((2, 1), np.float32), VECTORS[:4])] == [3, 4]
    assert one.counts["short rows"] == 1
    assert one.counts["rows with nearer ranks"] == 2
    assert one.counts["negatives"] == 7

"""Comparing rows by hashes on disk gives the same result as comparing all their texts."""

from __future__ import annotations

import random

import pytest

from embedctl.data.columns import Columns
from embedctl.data.crosscheck import CrossCheck
from embedctl.data.rows import Row
from embedctl.reading import hashes


def columns(locations: list[tuple[int, int]], rows: list[Row]) -> Columns:
    result = Columns()
    for (line, number), row in zip(locations, rows, strict=True):
        result.add(line, number, row)
    return result


def random_rows(seed: int) -> list[Row]:
    draw = random.Random(seed)

    def texts(prefix: str, end: int) -> tuple[str, ...]:
        return tuple(f"{prefix}{draw.randrange(12)}" for _ in range(draw.randrange(1, end)))

    return [Row(texts("q", 2)[0], texts("d", 3), texts("d", 4)[draw.randrange(2) :]) for _ in range(60)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1, 1 << 19])
def test_the_result_equals_a_comparison_of_all_pairs_of_rows(tmp_path, monkeypatch, seed, block):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", block)
    rows = random_rows(seed)
    locations = [(10 * number + 1, number) for number in range(len(rows))]
    cross_check = CrossCheck(tmp_path)
    for start in range(0, len(rows), 7):
        cross_check.add(columns(locations[start : start + 7], rows[start : start + 7]))

    duplicates = {}
    conflicts = []
    passages = [text for row in rows for text in (*row.pos, *row.neg)]
    for row, location in zip(rows, locations, strict=True):
        first = next(place for other, place in zip(rows, locations, strict=True) if other.query == row.query)
        if first != location:
            duplicates[location] = first[0]
        for text in row.neg:
            others = zip(rows, locations, strict=True)
            conflicts += [location] * any(
                place != location and row.query == other.query and text in other.pos for other, place in others
            )
    assert duplicates
    assert conflicts
    assert dict(cross_check.duplicate_queries()) == duplicates
    assert sorted(location for location, _ in cross_check.negatives_that_are_positives()) == sorted(conflicts)
    assert cross_check.count_duplicate_texts() == len(passages) - len(set(passages))


def test_the_line_of_the_other_row_is_returned(tmp_path):
    cross_check = CrossCheck(tmp_path)
    rows = [Row("q", ("a",), ("a", "b")), Row("other", ("b",)), Row("q", ("b",))]
    cross_check.add(columns([(1, 0), (2, 1), (3, 2)], rows))
    assert list(cross_check.negatives_that_are_positives()) == [((1, 0), 3)]


def test_rows_on_the_same_line_are_compared(tmp_path):
    cross_check = CrossCheck(tmp_path)
    cross_check.add(columns([(1, 0), (1, 1)], [Row("q", ("a",), ("b",)), Row("q", ("b",))]))
    assert list(cross_check.negatives_that_are_positives()) == [((1, 0), 1)]


def test_a_file_without_rows(tmp_path):
    cross_check = CrossCheck(tmp_path)
    cross_check.add(columns([], []))
    assert list(cross_check.duplicate_queries()) == []
    assert list(cross_check.negatives_that_are_positives()) == []
    assert cross_check.count_duplicate_texts() == 0


def test_a_row_with_two_negatives_that_one_line_lists_as_positives_is_reported_once(tmp_path):
    check = CrossCheck(tmp_path)
    rows = [Row("q", ("a", "b")), Row("q", ("c",), ("a", "b", "a"))]
    check.add(columns([(1, 0), (2, 1)], rows))
    found = [(location, warning.code) for location, warning in check.warnings()]
    assert found == [((2, 1), "duplicate-query"), ((2, 1), "positive-is-negative")]

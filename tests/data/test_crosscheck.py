"""Comparing rows by hashes on the disk agrees with comparing all their texts."""

from __future__ import annotations

import random

import pytest

from embedctl.data.columns import Columns
from embedctl.data.crosscheck import CrossCheck
from embedctl.data.rows import Row
from embedctl.reading import hashes


def columns(places: list[tuple[int, int]], rows: list[Row]) -> Columns:
    found = Columns()
    for (line, number), row in zip(places, rows, strict=True):
        found.add(line, number, row)
    return found


def random_rows(seed: int) -> list[Row]:
    draw = random.Random(seed)

    def words(prefix: str, most: int) -> tuple[str, ...]:
        return tuple(f"{prefix}{draw.randrange(12)}" for _ in range(draw.randrange(1, most)))

    return [Row(words("q", 2)[0], words("d", 3), words("d", 4)[draw.randrange(2) :]) for _ in range(60)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("block", [1, 1 << 19])
def test_against_comparing_all_with_all(tmp_path, monkeypatch, seed, block):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", block)
    rows = random_rows(seed)
    places = [(10 * number + 1, number) for number in range(len(rows))]
    across = CrossCheck(tmp_path)
    for start in range(0, len(rows), 7):
        across.add(columns(places[start : start + 7], rows[start : start + 7]))

    again = {}
    wrong = []
    passages = [text for row in rows for text in (*row.pos, *row.neg)]
    for row, place in zip(rows, places, strict=True):
        first = next(at for other, at in zip(rows, places, strict=True) if other.query == row.query)
        if first != place:
            again[place] = first[0]
        for text in row.neg:
            others = zip(rows, places, strict=True)
            wrong += [place] * any(
                at != place and row.query == other.query and text in other.pos for other, at in others
            )
    assert again
    assert wrong
    assert dict(across.repeated_queries()) == again
    assert sorted(place for place, _ in across.contradictions()) == sorted(wrong)
    assert across.repeated_texts() == len(passages) - len(set(passages))


def test_a_contradiction_names_the_other_row(tmp_path):
    across = CrossCheck(tmp_path)
    rows = [Row("q", ("a",), ("a", "b")), Row("other", ("b",)), Row("q", ("b",))]
    across.add(columns([(1, 0), (2, 1), (3, 2)], rows))
    assert list(across.contradictions()) == [((1, 0), 3)]


def test_rows_on_one_line_are_several_rows(tmp_path):
    across = CrossCheck(tmp_path)
    across.add(columns([(1, 0), (1, 1)], [Row("q", ("a",), ("b",)), Row("q", ("b",))]))
    assert list(across.contradictions()) == [((1, 0), 1)]


def test_no_rows(tmp_path):
    across = CrossCheck(tmp_path)
    across.add(columns([], []))
    assert list(across.repeated_queries()) == []
    assert list(across.contradictions()) == []
    assert across.repeated_texts() == 0

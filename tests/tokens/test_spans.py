"""Spans against the loops that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.tokens.spans import Spans, find


@pytest.fixture
def spans() -> Spans:
    """Spans that overlap, some of them empty."""
    draw = np.random.default_rng(0)
    return Spans(draw.integers(0, 480, 40), draw.integers(0, 9, 40))


def ranges(spans: Spans) -> list[range]:
    return [range(start, start + length) for start, length in zip(spans.starts, spans.lengths, strict=True)]


def test_places_owners_and_offsets_are_those_of_the_ranges(spans):
    assert 0 in spans.lengths
    assert spans.places.tolist() == [place for span in ranges(spans) for place in span]
    assert spans.owners.tolist() == [number for number, span in enumerate(ranges(spans)) for _ in span]
    assert spans.offsets.tolist() == [place - span.start for span in ranges(spans) for place in span]
    assert spans.ends.tolist() == [span.stop for span in ranges(spans)]


def test_take_joins_the_slices(spans):
    array = np.random.default_rng(1).integers(0, 99, 500)
    assert (spans.take(array) == np.concatenate([array[span.start : span.stop] for span in ranges(spans)])).all()


def test_chosen_spans_keep_their_places(spans):
    chosen = [7, 2, 2, 30]
    assert ranges(spans[np.array(chosen)]) == [ranges(spans)[number] for number in chosen]
    assert ranges(spans[3:9]) == ranges(spans)[3:9]


def test_two_lists_of_spans_are_joined_item_by_item(spans):
    one, other = spans[:20], spans[20:]
    pairs = list(zip(ranges(one), ranges(other), strict=True))
    assert ranges(Spans.alternating(one, other)) == [span for pair in pairs for span in pair]
    odd = np.arange(20) % 2 == 1
    assert ranges(Spans.where(odd, one, other)) == [pair[0 if place % 2 else 1] for place, pair in enumerate(pairs)]


def test_every_place_of_adjoining_spans_is_located_in_the_one_that_holds_it():
    spans = Spans.adjoining(np.array([0, 3, 0, 2, 1, 0]))
    assert ranges(spans) == [range(0), range(3), range(3, 3), range(3, 5), range(5, 6), range(6, 6)]
    assert ranges(Spans.adjoining(np.array([2, 1]), first=7)) == [range(7, 9), range(9, 10)]
    owners, offsets = spans.locate(np.arange(6))
    assert owners.tolist() == spans.owners.tolist() == [1, 1, 1, 3, 3, 4]
    assert offsets.tolist() == spans.offsets.tolist() == [0, 1, 2, 0, 1, 0]


def test_no_spans_have_no_places():
    none = Spans.adjoining(np.zeros(0, dtype=np.int64))
    assert len(none) == len(none.places) == len(none.owners) == len(none.offsets) == len(none.take(np.arange(3))) == 0


def test_find_tells_what_is_missing_before_between_and_after():
    ascending = np.array([2, 3, 5, 9], dtype=np.uint64)
    assert find(ascending, np.array([9, 0, 3, 4, 10, 2], dtype=np.uint64)).tolist() == [3, -1, 1, -1, -1, 0]
    assert find(ascending, ascending[:0]).tolist() == []

"""Tests of Spans against equivalent Python loops."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.tokens.spans import Spans, find_in_sorted


@pytest.fixture
def spans() -> Spans:
    """Return overlapping spans, some of them empty."""
    draw = np.random.default_rng(0)
    return Spans(draw.integers(0, 480, 40), draw.integers(0, 9, 40))


def ranges(spans: Spans) -> list[range]:
    return [range(start, start + length) for start, length in zip(spans.starts, spans.lengths, strict=True)]


def test_indices_span_indices_and_offsets_equal_those_of_python_ranges(spans):
    assert 0 in spans.lengths
    assert spans.indices.tolist() == [index for span in ranges(spans) for index in span]
    assert spans.span_indices.tolist() == [number for number, span in enumerate(ranges(spans)) for _ in span]
    assert spans.offsets.tolist() == [index - span.start for span in ranges(spans) for index in span]
    assert spans.ends.tolist() == [span.stop for span in ranges(spans)]


def test_take_concatenates_the_slices(spans):
    array = np.random.default_rng(1).integers(0, 99, 500)
    assert (spans.take(array) == np.concatenate([array[span.start : span.stop] for span in ranges(spans)])).all()


def test_indexing_selects_spans(spans):
    selected = [7, 2, 2, 30]
    assert ranges(spans[np.array(selected)]) == [ranges(spans)[number] for number in selected]
    assert ranges(spans[3:9]) == ranges(spans)[3:9]


def test_interleave_and_where_combine_two_lists_of_spans(spans):
    one, other = spans[:20], spans[20:]
    pairs = list(zip(ranges(one), ranges(other), strict=True))
    assert ranges(Spans.interleave(one, other)) == [span for pair in pairs for span in pair]
    odd = np.arange(20) % 2 == 1
    assert ranges(Spans.where(odd, one, other)) == [pair[0 if number % 2 else 1] for number, pair in enumerate(pairs)]


def test_locate_returns_the_span_and_the_offset_of_each_index():
    spans = Spans.from_lengths(np.array([0, 3, 0, 2, 1, 0]))
    assert ranges(spans) == [range(0), range(3), range(3, 3), range(3, 5), range(5, 6), range(6, 6)]
    assert ranges(Spans.from_lengths(np.array([2, 1]), first=7)) == [range(7, 9), range(9, 10)]
    span_indices, offsets = spans.locate(np.arange(6))
    assert span_indices.tolist() == spans.span_indices.tolist() == [1, 1, 1, 3, 3, 4]
    assert offsets.tolist() == spans.offsets.tolist() == [0, 1, 2, 0, 1, 0]


def test_zero_spans_have_no_indices():
    empty = Spans.from_lengths(np.zeros(0, dtype=np.int64))
    assert len(empty) == len(empty.indices) == len(empty.span_indices) == len(empty.offsets) == 0
    assert len(empty.take(np.arange(3))) == 0


def test_find_in_sorted_returns_minus_1_for_missing_values():
    ascending = np.array([2, 3, 5, 9], dtype=np.uint64)
    assert find_in_sorted(ascending, np.array([9, 0, 3, 4, 10, 2], dtype=np.uint64)).tolist() == [3, -1, 1, -1, -1, 0]
    assert find_in_sorted(ascending, ascending[:0]).tolist() == []

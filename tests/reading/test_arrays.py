"""Splitting an array gives the same elements as parsing it, whatever the size of the reads."""

from __future__ import annotations

import io
import json
import random

import pytest

from embedctl.reading import arrays
from embedctl.reading.arrays import BrokenArrayError, split_array

SPECIAL_STRINGS = ["", "]", '"', '\\"', "\\", "\\\\", "{[,]}", "a\nb", "\t,", "雨后", "\u2028", "}]}"]


def split(text: str) -> list[tuple[int, bytes]]:
    return list(split_array(io.BytesIO(text.encode())))


def random_value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.randrange(6 if depth < 3 else 4)
    if kind < 3:
        return "".join(draw.choices(SPECIAL_STRINGS, k=draw.randrange(4)))
    if kind == 3:
        return draw.choice([None, True, 0, -1.5e-3, 12345678])
    values = [random_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return (
        values if kind == 4 else {"".join(draw.choices(SPECIAL_STRINGS, k=2)) + str(n): v for n, v in enumerate(values)}
    )


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
def test_the_elements_are_those_of_the_json_module(monkeypatch, chunk):
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    draw = random.Random(chunk)
    for _ in range(60):
        values = [random_value(draw) for _ in range(draw.randrange(6))]
        text = json.dumps(values, indent=draw.choice([None, 0, 3]), ensure_ascii=draw.random() < 0.5)
        assert [json.loads(element) for _, element in split(f"\n {text} \n")] == values


def test_each_line_number_is_where_the_element_begins():
    assert split('\n[\n\n{"a":\n1} , 2,\n\n 3\n]') == [(4, b'{"a":\n1}'), (5, b"2"), (7, b"3")]


def test_a_missing_element_has_no_bytes():
    assert [element for _, element in split("[1,,2]")] == [b"1", b"", b"2"]
    assert [element for _, element in split("[1,]")] == [b"1", b""]
    assert split("[ ]") == []


def test_an_invalid_element_does_not_affect_the_next():
    assert [element for _, element in split('[{"a":1}}, {"b":2} {"c":3}, 4]')] == [
        b'{"a":1}}',
        b'{"b":2} {"c":3}',
        b"4",
    ]


def test_escaped_quotes_outside_of_a_string_affect_only_one_element():
    escaped = rb"{\"a\": \"b\"}"
    assert split(f'[{escaped.decode()}, {{"b": "]"}}]') == [(1, escaped), (1, b'{"b": "]"}')]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[1,\n2", 2, "element is not closed"),
        ('[1,\n{"a": [2}\n,\n3]', 2, "element is not closed"),
        ('[\n"abc]', 2, "element is not closed"),
        ("[", 1, "array is not closed"),
        ("[1]\n\n[2]", 3, "after the array"),
    ],
)
def test_an_unclosed_array_or_content_after_the_array_is_an_error(text, line, message):
    with pytest.raises(BrokenArrayError, match=message) as error:
        split(text)
    assert error.value.line == line


def test_memory_is_bounded_if_an_element_is_never_closed(monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK", 1000)
    monkeypatch.setattr(arrays, "MAX_ELEMENT_BYTES", 10_000)
    stream = io.BytesIO(b'["' + b"x" * 1_000_000)
    with pytest.raises(BrokenArrayError, match="element is not closed"):
        list(split_array(stream))
    assert stream.tell() < 20_000


def test_a_string_longer_than_a_read_takes_few_reads(monkeypatch):
    class CountingStream(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            return super().read(size)

    monkeypatch.setattr(arrays, "CHUNK", 10)
    stream = CountingStream(b'["' + b"x" * 100_000 + b'", 1]')
    assert [len(element) for _, element in split_array(stream)] == [100_002, 1]
    assert stream.reads < 30

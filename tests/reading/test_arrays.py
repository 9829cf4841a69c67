"""Cutting an array agrees with parsing it, wherever the reads happen to end."""

from __future__ import annotations

import io
import json
import random

import pytest

from embedctl.reading import arrays
from embedctl.reading.arrays import BrokenArrayError, elements

AWKWARD = ["", "]", '"', '\\"', "\\", "\\\\", "{[,]}", "a\nb", "\t,", "雨后", "\u2028", "}]}"]


def cut(text: str) -> list[tuple[int, bytes]]:
    return list(elements(io.BytesIO(text.encode())))


def random_value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.randrange(6 if depth < 3 else 4)
    if kind < 3:
        return "".join(draw.choices(AWKWARD, k=draw.randrange(4)))
    if kind == 3:
        return draw.choice([None, True, 0, -1.5e-3, 12345678])
    values = [random_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return values if kind == 4 else {"".join(draw.choices(AWKWARD, k=2)) + str(n): v for n, v in enumerate(values)}


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
def test_cutting_agrees_with_the_json_module(monkeypatch, chunk):
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    draw = random.Random(chunk)
    for _ in range(60):
        values = [random_value(draw) for _ in range(draw.randrange(6))]
        text = json.dumps(values, indent=draw.choice([None, 0, 3]), ensure_ascii=draw.random() < 0.5)
        assert [json.loads(element) for _, element in cut(f"\n {text} \n")] == values


def test_lines_are_those_on_which_the_elements_begin():
    assert cut('\n[\n\n{"a":\n1} , 2,\n\n 3\n]') == [(4, b'{"a":\n1}'), (5, b"2"), (7, b"3")]


def test_a_comma_too_many_leaves_an_element_without_bytes():
    assert [element for _, element in cut("[1,,2]")] == [b"1", b"", b"2"]
    assert [element for _, element in cut("[1,]")] == [b"1", b""]
    assert cut("[ ]") == []


def test_a_bad_element_does_not_hide_the_next():
    assert [element for _, element in cut('[{"a":1}}, {"b":2} {"c":3}, 4]')] == [b'{"a":1}}', b'{"b":2} {"c":3}', b"4"]


def test_escaped_quotes_outside_of_a_string_spoil_one_element_only():
    escaped = rb"{\"a\": \"b\"}"
    assert cut(f'[{escaped.decode()}, {{"b": "]"}}]') == [(1, escaped), (1, b'{"b": "]"}')]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[1,\n2", 2, "has no end"),
        ('[1,\n{"a": [2}\n,\n3]', 2, "has no end"),
        ('[\n"abc]', 2, "has no end"),
        ("[", 1, "not closed"),
        ("[1]\n\n[2]", 3, "behind the array"),
    ],
)
def test_an_array_without_an_end_or_with_something_behind_it(text, line, words):
    with pytest.raises(BrokenArrayError, match=words) as broken:
        cut(text)
    assert broken.value.line == line


def test_memory_is_bounded_when_an_element_never_ends(monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK", 1000)
    monkeypatch.setattr(arrays, "LONGEST", 10_000)
    stream = io.BytesIO(b'["' + b"x" * 1_000_000)
    with pytest.raises(BrokenArrayError, match="has no end"):
        list(elements(stream))
    assert stream.tell() < 20_000


def test_a_string_longer_than_many_reads_is_searched_a_few_times_only(monkeypatch):
    class Counted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            return super().read(size)

    monkeypatch.setattr(arrays, "CHUNK", 10)
    stream = Counted(b'["' + b"x" * 100_000 + b'", 1]')
    assert [len(element) for _, element in elements(stream)] == [100_002, 1]
    assert stream.reads < 30

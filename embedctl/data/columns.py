"""Rows as columns, and the quick way to them: many lines of a file looked at together, by what runs in C.

The quick way takes lines only in which nothing at all is wrong or odd. Whatever else there is, it leaves the lines to
those who look at them one by one and say what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import contains, itemgetter
from typing import Any

import orjson

from embedctl.data.damage import DAMAGE, may_be_damaged
from embedctl.data.rows import PROMPT_KEYS, SCORE_KEYS, Row

# Rows with these are of the kinds that are looked at one by one.
RARE_KEYS = frozenset((*SCORE_KEYS, *PROMPT_KEYS))


@dataclass
class Columns:
    """Valid rows, a list for each field; places are the line and the number of a row in its file."""

    lines: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    pos: list[Sequence[str]] = field(default_factory=list)
    neg: list[Sequence[str]] = field(default_factory=list)
    prompts: list[str | None] = field(default_factory=list)

    def add(self, line: int, number: int, row: Row) -> None:
        """Add one row."""
        self.extend([line], [number], Texts([row.query], [row.pos], [row.neg]), [row.prompt])

    def extend(self, lines: Iterable[int], numbers: Iterable[int], texts: Texts, prompts: Iterable[str | None]) -> None:
        """Add several rows."""
        self.lines.extend(lines)
        self.numbers.extend(numbers)
        self.queries.extend(texts.queries)
        self.pos.extend(texts.pos)
        self.neg.extend(texts.neg)
        self.prompts.extend(prompts)


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of some rows."""

    queries: Sequence[str]
    pos: Sequence[Sequence[str]]
    neg: Sequence[Sequence[str]]


def clean_texts(lines: Sequence[bytes]) -> Texts | None:
    """The texts of lines that all hold a row with which nothing is wrong or odd; None if any does not.

    Such a row has no scores and no prompt. How many negatives it has is not looked at.
    """
    texts = _texts(lines)
    if texts is None or not _are_strings(texts) or _repeat_themselves(texts):
        return None
    damaged = may_be_damaged(b"\n".join(lines)) and any(map(DAMAGE.search, _all(texts)))
    return None if damaged else texts


def _texts(lines: Sequence[bytes]) -> Texts | None:
    """What stands under query, pos and neg, if every line is an object with the first two and no rare key."""
    try:
        rows = list(map(orjson.loads, lines))
        if set(map(type, rows)) != {dict} or not RARE_KEYS.isdisjoint(chain.from_iterable(rows)):
            return None
        queries, pos = list(map(itemgetter("query"), rows)), list(map(itemgetter("pos"), rows))
    except (orjson.JSONDecodeError, KeyError):
        return None
    nothing: list[str] = []
    return Texts(queries, pos, list(map(dict.get, rows, repeat("neg"), repeat(nothing))))


def _are_strings(texts: Texts) -> bool:
    """Whether queries are strings, pos and neg lists of strings, none blank, and each pos has one."""
    lists: set[Any] = {*map(type, texts.pos), *map(type, texts.neg)}
    if lists != {list} or not all(texts.pos):
        return False
    return set(map(type, _all(texts))) == {str} and all(map(str.strip, _all(texts)))


def _repeat_themselves(texts: Texts) -> bool:
    """Whether any row holds a text twice, be it as query, positive or negative."""
    if any(map(contains, texts.pos, texts.queries)) or _any_twice(texts.pos):
        return True
    if not any(texts.neg):
        return False
    return _any_twice(texts.neg) or not all(map(set.isdisjoint, map(set, texts.neg), texts.pos))


def _any_twice(lists: Sequence[Sequence[str]]) -> bool:
    """Whether any list holds a text twice."""
    counts = list(map(len, lists))
    return max(counts) > 1 and counts != list(map(len, map(set, lists)))


def _all(texts: Texts) -> Iterable[str]:
    return chain(texts.queries, chain.from_iterable(texts.pos), chain.from_iterable(texts.neg))

"""Rows as columns, and the quick way to them: many lines of a file looked at together, by what runs in C.

The quick way takes lines only in which nothing at all is wrong or odd. Whatever else there is, it leaves the lines to
those who look at them one by one and say what it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import contains, eq, itemgetter
from typing import Any

import orjson

from embedctl.data.damage import DAMAGE, may_be_damaged
from embedctl.data.rows import PROMPT_KEYS, SCORE_KEYS, Row

# Rows with these are of the kinds that are looked at one by one.
RARE_KEYS = frozenset((*SCORE_KEYS, *PROMPT_KEYS))


@dataclass(slots=True)
class Lists:
    """Lists of texts one behind the other: all texts, and how many each list has."""

    texts: list[str] = field(default_factory=list)
    counts: array[int] = field(default_factory=lambda: array("q"))

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]]) -> Lists:
        """The lists flattened."""
        return cls(list(chain.from_iterable(lists)), array("q", map(len, lists)))

    def extend(self, more: Lists) -> None:
        """Add other lists at the end."""
        self.texts += more.texts
        self.counts += more.counts


@dataclass
class Columns:
    """Valid rows, a list for each field; places are the line and the number of a row in its file."""

    lines: array[int] = field(default_factory=lambda: array("Q"))
    numbers: array[int] = field(default_factory=lambda: array("Q"))
    queries: list[str] = field(default_factory=list)
    pos: Lists = field(default_factory=Lists)
    neg: Lists = field(default_factory=Lists)
    prompts: list[str | None] = field(default_factory=list)

    def add(self, line: int, number: int, row: Row) -> None:
        """Add one row."""
        self.extend([line], [number], Texts([row.query], Lists.of([row.pos]), Lists.of([row.neg])), [row.prompt])

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

    queries: list[str]
    pos: Lists
    neg: Lists

    def all(self) -> tuple[list[str], list[str], list[str]]:
        """The texts of each field."""
        return self.queries, self.pos.texts, self.neg.texts


def clean_texts(lines: Sequence[bytes]) -> Texts | None:
    """The texts of lines that all hold a row with which nothing is wrong or odd; None if any does not.

    Such a row has no scores and no prompt. How many negatives it has is not looked at.
    """
    fields = _fields(lines)
    if fields is None:
        return None
    queries, pos, neg = fields
    if {*map(type, pos), *map(type, neg)} != {list} or not all(pos):
        return None
    texts = Texts(queries, Lists.of(pos), Lists.of(neg))
    if not all(map(_are_texts, texts.all())) or _repeat_themselves(texts, pos, neg):
        return None
    damaged = may_be_damaged(b"\n".join(lines)) and any(map(DAMAGE.search, chain(*texts.all())))
    return None if damaged else texts


def _fields(lines: Sequence[bytes]) -> tuple[list[Any], list[Any], list[Any]] | None:
    """What stands under query, pos and neg, if every line is an object with the first two and no rare key."""
    try:
        rows = list(map(orjson.loads, lines))
        if set(map(type, rows)) != {dict} or not RARE_KEYS.isdisjoint(chain.from_iterable(rows)):
            return None
        queries, pos = list(map(itemgetter("query"), rows)), list(map(itemgetter("pos"), rows))
    except (orjson.JSONDecodeError, KeyError):
        return None
    nothing: list[str] = []
    return queries, pos, list(map(dict.get, rows, repeat("neg"), repeat(nothing)))


def _are_texts(texts: list[Any]) -> bool:
    """Whether all are strings, none of them blank."""
    return set(map(type, texts)) <= {str} and all(map(str.strip, texts))


def _repeat_themselves(texts: Texts, pos: list[list[str]], neg: list[list[str]]) -> bool:
    """Whether any row holds a text twice, be it as query, positive or negative."""
    single = len(texts.pos.texts) == len(pos)
    if any(map(eq, texts.queries, texts.pos.texts)) if single else any(map(contains, pos, texts.queries)):
        return True
    if _any_twice(texts.pos, pos):
        return True
    if not texts.neg.texts:
        return False
    return _any_twice(texts.neg, neg) or not all(map(set.isdisjoint, map(set, neg), pos))


def _any_twice(flat: Lists, lists: Sequence[Sequence[str]]) -> bool:
    """Whether any list holds a text twice."""
    return max(flat.counts) > 1 and sum(map(len, map(set, lists))) < len(flat.texts)

"""Rows as columns, and the quick way to them: many lines of a file looked at together, by what runs in C.

The quick way takes lines only in which nothing at all is wrong or odd. Whatever else there is, it leaves the lines to
those who look at them one by one and say what it is.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import contains, itemgetter
from typing import Any

import orjson

from embedctl.data.oddities import DAMAGE, may_be_damaged
from embedctl.data.rows import PROMPT_KEYS, SCORE_KEYS, Row, RowKind

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


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of some rows."""

    queries: list[str]
    pos: Lists
    neg: Lists

    def all(self) -> tuple[list[str], list[str], list[str]]:
        """The texts of each field."""
        return self.queries, self.pos.texts, self.neg.texts


@dataclass
class Columns:
    """Valid rows, a list for each field; the place of a row is its line and its number in the file."""

    lines: array[int] = field(default_factory=lambda: array("Q"))
    numbers: array[int] = field(default_factory=lambda: array("Q"))
    kinds: Counter[str] = field(default_factory=Counter)
    prompts: list[str | None] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    pos: Lists = field(default_factory=Lists)
    neg: Lists = field(default_factory=Lists)

    def add(self, line: int, number: int, row: Row) -> None:
        """Add one row."""
        self._extend([line], [number], Texts([row.query], Lists.of([row.pos]), Lists.of([row.neg])))
        self.kinds[row.kind.value] += 1
        self.prompts.append(row.prompt)

    def add_clean(self, lines: Sequence[int], numbers: Sequence[int], texts: Texts) -> None:
        """Add what `clean_texts` returned for these lines."""
        self._extend(lines, numbers, texts)
        in_batch = texts.neg.counts.count(0)
        self.kinds += Counter({RowKind.HARD.value: len(lines) - in_batch, RowKind.IN_BATCH.value: in_batch})
        self.prompts.extend(repeat(None, len(lines)))

    def _extend(self, lines: Sequence[int], numbers: Sequence[int], texts: Texts) -> None:
        self.lines.extend(lines)
        self.numbers.extend(numbers)
        self.queries += texts.queries
        self.pos.extend(texts.pos)
        self.neg.extend(texts.neg)


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
    if not all(map(_are_texts, texts.all())) or _repeat(texts, pos, neg):
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


def _repeat(texts: Texts, pos: list[list[str]], neg: list[list[str]]) -> bool:
    """Whether any row holds a passage twice, or its query as a positive."""
    passages = len(texts.pos.texts) + len(texts.neg.texts)
    if passages > len(pos) and sum(map(len, map(set.union, map(set, pos), neg))) < passages:
        return True
    return any(map(contains, pos, texts.queries))

"""Valid rows stored as one list per field, and a fast parser for lines whose rows have no errors and no warnings.

The fast parser handles many lines per call, with functions that run in C. It returns texts only if the slow path
(`find_errors`, `find_warnings` and `find_encoding_damage`, row by row) would find no error and no warning in any line.
Otherwise it returns None, and the caller runs the slow path on the same lines. The report is the same.
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

from embedctl.data.row_warnings import ENCODING_DAMAGE, may_have_encoding_damage
from embedctl.data.rows import PROMPT_KEYS, SCORE_KEYS, Row, RowKind

# Rows with these keys always take the slow path: few files have them.
SLOW_PATH_KEYS = frozenset((*SCORE_KEYS, *PROMPT_KEYS))


@dataclass(slots=True)
class TextLists:
    """The `pos` or `neg` lists of some rows, joined to one list: `texts`, and the length of each row's list."""

    texts: list[str] = field(default_factory=list)
    counts: array[int] = field(default_factory=lambda: array("q"))

    @classmethod
    def join(cls, lists: Sequence[Sequence[str]]) -> TextLists:
        """Join one list per row."""
        return cls(list(chain.from_iterable(lists)), array("q", map(len, lists)))

    def extend(self, other: TextLists) -> None:
        """Append the lists of more rows."""
        self.texts += other.texts
        self.counts += other.counts


@dataclass(frozen=True, slots=True)
class RowTexts:
    """The texts of some rows, without their prompts and scores."""

    queries: list[str]
    pos: TextLists
    neg: TextLists

    def by_field(self) -> tuple[list[str], list[str], list[str]]:
        """Return all queries, all positives and all negatives."""
        return self.queries, self.pos.texts, self.neg.texts


@dataclass
class Columns:
    """Valid rows, one list per field. `lines` has the line number of each row, and `indices` its index in the file."""

    lines: array[int] = field(default_factory=lambda: array("Q"))
    indices: array[int] = field(default_factory=lambda: array("Q"))
    kinds: Counter[str] = field(default_factory=Counter)
    prompts: list[str | None] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    pos: TextLists = field(default_factory=TextLists)
    neg: TextLists = field(default_factory=TextLists)

    def add(self, line: int, index: int, row: Row) -> None:
        """Append one row."""
        texts = RowTexts([row.query], TextLists.join([row.pos]), TextLists.join([row.neg]))
        self._extend([line], [index], texts)
        self.kinds[row.kind.value] += 1
        self.prompts.append(row.prompt)

    def add_clean_rows(self, lines: Sequence[int], indices: Sequence[int], texts: RowTexts) -> None:
        """Append the rows that `parse_clean_rows` returned for these lines; they have no prompts and no scores."""
        self._extend(lines, indices, texts)
        without_negatives = texts.neg.counts.count(0)
        kinds = {RowKind.HARD.value: len(lines) - without_negatives, RowKind.IN_BATCH.value: without_negatives}
        self.kinds += Counter(kinds)
        self.prompts.extend(repeat(None, len(lines)))

    def _extend(self, lines: Sequence[int], indices: Sequence[int], texts: RowTexts) -> None:
        self.lines.extend(lines)
        self.indices.extend(indices)
        self.queries += texts.queries
        self.pos.extend(texts.pos)
        self.neg.extend(texts.neg)


def parse_clean_rows(lines: Sequence[bytes]) -> RowTexts | None:
    """Return the texts of the lines if each line is a clean row, else None.

    A clean row has no errors, no warnings, no scores and no prompt. Each check is at least as strict as the slow path.
    The number of negatives is not checked here: the caller adds `few-negatives`, which depends on `--neg-nums`.
    """
    if (values := _values_by_key(lines)) is None:
        return None
    queries, pos, neg = values
    if {*map(type, pos), *map(type, neg)} != {list} or not all(pos):
        return None
    texts = RowTexts(queries, TextLists.join(pos), TextLists.join(neg))
    if not all(map(_are_non_blank_strings, texts.by_field())) or _have_duplicates(texts, pos, neg):
        return None
    # The slow path searches each line on its own. One search of the joined lines gives the same result, because no
    # pattern contains a line break.
    if may_have_encoding_damage(b"\n".join(lines)) and any(map(ENCODING_DAMAGE.search, chain(*texts.by_field()))):
        return None
    return texts


def _values_by_key(lines: Sequence[bytes]) -> tuple[list[Any], list[Any], list[Any]] | None:
    """Return the values of query, pos and neg, one per line; a missing neg is an empty list.

    Return None if a line is not a JSON object, has no query or no pos, or has one of `SLOW_PATH_KEYS`.
    """
    try:
        rows = list(map(orjson.loads, lines))
        if set(map(type, rows)) != {dict} or not SLOW_PATH_KEYS.isdisjoint(chain.from_iterable(rows)):
            return None
        queries, pos = list(map(itemgetter("query"), rows)), list(map(itemgetter("pos"), rows))
    except (orjson.JSONDecodeError, KeyError):
        return None
    no_negatives: list[str] = []
    return queries, pos, list(map(dict.get, rows, repeat("neg"), repeat(no_negatives)))


def _are_non_blank_strings(texts: list[Any]) -> bool:
    return set(map(type, texts)) <= {str} and all(map(str.strip, texts))


def _have_duplicates(texts: RowTexts, pos: list[list[str]], neg: list[list[str]]) -> bool:
    """Return whether a row has the same passage twice, in pos, in neg or in both, or its query as a positive.

    The distinct passages are counted per row and summed over the rows. A row with a duplicate has fewer distinct
    passages than passages, so the sum is smaller than the number of passages if and only if a row has a duplicate. If
    each row has only one passage, there is nothing to count.
    """
    passages = len(texts.pos.texts) + len(texts.neg.texts)
    if passages > len(pos) and sum(map(len, map(set.union, map(set, pos), neg))) < passages:
        return True
    return any(map(contains, pos, texts.queries))

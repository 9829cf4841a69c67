"""The rows that need negatives, and the distinct texts that mining knows: the corpus, then answers that it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from embedctl.data.formats import read_rows
from embedctl.data.rows import Row
from embedctl.mining.filters import Answers
from embedctl.reading.hashes import text_hash
from embedctl.search.exact import Ids, Vectors


@dataclass
class Rows:
    """What mining needs of the rows; the rows themselves are read again when they are written.

    Args:
        files: where they are.
        keep_negatives: whether their own negatives stay.
        answers: the positives of each query.
        queries: a row's query.
        prompts: a row's own prompt, or None.
        own: the hashes of a row's own negatives, if they stay.
    """

    files: Sequence[str]
    keep_negatives: bool = False
    answers: Answers = field(default_factory=Answers)
    queries: list[str] = field(default_factory=list)
    prompts: list[str | None] = field(default_factory=list)
    own: list[list[int]] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Learn a row."""
        self.answers.add(row)
        self.queries.append(row.query)
        self.prompts.append(row.prompt)
        self.own.append(list(map(text_hash, row.neg)) if self.keep_negatives else [])


@dataclass
class Pool:
    """P distinct texts, of which the first `searched` are the corpus.

    Args:
        texts: P texts.
        searched: how many of them may become negatives.
        place_of: the hash of a text to its place.
    """

    texts: list[str] = field(default_factory=list)
    searched: int = 0
    place_of: dict[int, int] = field(default_factory=dict)

    def add(self, texts: Iterable[str]) -> None:
        """Add those that are not there yet."""
        for text in texts:
            if self.place_of.setdefault(text_hash(text), len(self.texts)) == len(self.texts):
                self.texts.append(text)

    def places(self, hashed: Iterable[int]) -> Ids:
        """Where texts stand, by their hashes."""
        return np.fromiter((self.place_of[one] for one in hashed), dtype=np.int64)

    def places_of(self, texts: Iterable[str]) -> Ids:
        """Where texts stand."""
        return self.places(map(text_hash, texts))


def gather(files: Sequence[str], corpus: Iterable[str] | None, *, keep_negatives: bool) -> tuple[Rows, Pool]:
    """Go through the rows once.

    Args:
        files: the rows.
        corpus: the passages to search; the texts of the rows if None.
        keep_negatives: whether the rows' own negatives stay.

    Raises:
        DataError: a row is wrong.
    """
    rows, pool = Rows(files, keep_negatives), Pool()
    pool.add(corpus or ())
    pool.searched = len(pool.texts)
    for name in files:
        for row in read_rows(name):
            rows.add(row)
            pool.add(row.pos)
            if corpus is None or keep_negatives:
                pool.add(row.neg)
    if corpus is None:
        pool.searched = len(pool.texts)
    return rows, pool


def pair_scores(vector_H: Vectors, pool_PH: Vectors, places: Ids) -> Vectors:
    """The scores (N,) of a query's vector with the texts at `places`."""
    return np.asarray(pool_PH[places] @ vector_H, dtype=np.float32)

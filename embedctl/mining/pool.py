"""The rows that need negatives, and the distinct texts that mining knows: the corpus, then positives that it lacks."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedctl.data.rows import Row
from embedctl.reading.hashes import text_hash
from embedctl.search.exact import Ids, Vectors

Hashes = NDArray[np.uint64]
Scorer = Callable[[Sequence[int], Sequence[Ids]], list[Vectors]]  # rows and, of each, texts of the pool: their scores
WORDS = re.compile(r"\w+")


@dataclass
class Pool:
    """P distinct texts."""

    texts: list[str] = field(default_factory=list)  # P texts
    place_of: dict[int, int] = field(default_factory=dict)  # the hash of a text to its place

    def add(self, texts: Iterable[str]) -> list[int]:
        """The places of texts, at the end for those that are not there yet."""
        places = []
        for text in texts:
            places.append(self.place_of.setdefault(text_hash(text), len(self.texts)))
            if places[-1] == len(self.texts):
                self.texts.append(text)
        return places

    def places_of(self, texts: Iterable[str]) -> Ids:
        """The places of texts that are there."""
        return _ids(self.place_of[text_hash(text)] for text in texts)


@dataclass(frozen=True)
class MiningData:
    """Q rows and P texts; a row's texts are given as places among the P."""

    pool: Pool  # P texts
    searched: int  # how many of them, from the first, are the corpus: those may become negatives
    queries: list[str]  # a row's query
    prompts: list[str | None]  # a row's own prompt, or None
    # The positives of a row's query over all rows. Graded texts count, whatever their grade: their relevance is known,
    # and no mined negative may contradict it.
    positives: list[Ids]
    measured: list[Ids]  # those of them that margins are measured from: of graded texts only the highest grade
    own: list[Ids]  # a row's own negatives, if they are kept
    normal_P: Hashes  # the hash of each normalised text
    normal_Q: Hashes  # the hash of each normalised query

    @property
    def most_excluded(self) -> int:
        """Texts of the corpus that a row may not take, at most: its positives, its own negatives and its query."""
        return max(map(len, self.positives), default=0) + max(map(len, self.own), default=0) + 1


def gather(rows: Iterable[Row], corpus: Iterable[str] | None, *, keep_negatives: bool) -> MiningData:
    """Go through the rows once.

    Args:
        rows: the rows.
        corpus: the passages to search; the texts of the rows if None.
        keep_negatives: whether the rows' own negatives stay.
    """
    pool = Pool()
    pool.add(corpus or ())
    searched = len(pool.texts)
    known: defaultdict[str, dict[int, bool]] = defaultdict(dict)  # query to its positives: whether each is measured
    queries: list[str] = []
    prompts: list[str | None] = []
    own: list[Ids] = []
    for row in rows:
        grades = row.scores or (1.0,) * len(row.pos)
        best, positives = max(grades), known[row.query]
        for place, grade in zip(pool.add(row.pos), grades, strict=True):
            positives[place] = positives.get(place, False) or grade == best
        negatives = pool.add(row.neg) if keep_negatives or corpus is None else []
        queries.append(row.query)
        prompts.append(row.prompt)
        own.append(_ids(negatives if keep_negatives else ()))
    return MiningData(
        pool,
        len(pool.texts) if corpus is None else searched,
        queries,
        prompts,
        [_ids(known[query]) for query in queries],
        [_ids(place for place, measured in known[query].items() if measured) for query in queries],
        own,
        normal_hashes(pool.texts),
        normal_hashes(queries),
    )


def _ids(places: Iterable[int]) -> Ids:
    return np.fromiter(places, dtype=np.int64)


def normalised(text: str) -> str:
    """The text's words, one form for all of case, width, punctuation and spacing; a text without words is itself."""
    return " ".join(WORDS.findall(unicodedata.normalize("NFKC", text).casefold())) or text


def normal_hashes(texts: Iterable[str]) -> Hashes:
    """The hash (N,) of each normalised text."""
    return np.fromiter((text_hash(normalised(text)) for text in texts), dtype=np.uint64)


def pair_scores(vector_H: Vectors, text_PH: Vectors, places: Ids) -> Vectors:
    """The scores (N,) of a query's vector with the texts at `places`."""
    return np.asarray(text_PH[places] @ vector_H, dtype=np.float32)

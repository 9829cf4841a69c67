"""What may not be a negative, and what is too near or too far to be a good one.

A filter says which candidates of a row it keeps, by their texts: what it rejects is never taken. `Limits` look at
scores and say by how much a candidate lies outside, so that a row which gets too few may take the least of them. To
add a filter: one function here and one line where the filters are listed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedctl.data.rows import Row
from embedctl.reading.hashes import text_hash
from embedctl.search.exact import Ids, Vectors

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Filter = Callable[[int, Ids, Vectors], Mask]
WORDS = re.compile(r"\w+")


@dataclass
class Answers:
    """The positives of each query over all rows, by the hashes of the texts.

    Graded texts count, whatever their grade: they are judged, and no mined negative may contradict that. Only those
    of a row's highest grade are answers to measure others by.
    """

    by_query: dict[int, dict[int, bool]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Learn a row's positives."""
        known = self.by_query.setdefault(text_hash(row.query), {})
        best = max(row.scores, default=0.0)
        for text, grade in zip(row.pos, row.scores or (best,) * len(row.pos), strict=True):
            hashed = text_hash(text)
            known[hashed] = known.get(hashed, False) or grade == best

    def of(self, query: str) -> Hashes:
        """The hashes of a query's positives."""
        return np.fromiter(self.by_query.get(text_hash(query), ()), dtype=np.uint64)

    def best_of(self, query: str) -> list[int]:
        """The hashes of a query's positives, of graded ones only the highest."""
        return [hashed for hashed, best in self.by_query.get(text_hash(query), {}).items() if best]

    @property
    def most(self) -> int:
        """Positives of the query that has most."""
        return max(map(len, self.by_query.values()), default=0)


def hashes(texts: Iterable[str]) -> Hashes:
    """The hash (N,) of each text."""
    return np.fromiter(map(text_hash, texts), dtype=np.uint64)


def normalised(text: str) -> str:
    """The text's words, one form for all of case, width, punctuation and spacing; a text without words is itself."""
    return " ".join(WORDS.findall(unicodedata.normalize("NFKC", text).casefold())) or text


def no_answer(queries: Sequence[str], hashes_D: Hashes, answers: Answers) -> Filter:
    """Keeps what no row calls an answer to the query."""
    return lambda row, ids, _scores: ~np.isin(hashes_D[ids], answers.of(queries[row]))


def no_near_duplicate(positives: Sequence[Ids], normal_P: Hashes) -> Filter:
    """Keeps what is not, but for case, punctuation and spacing, an answer to the query.

    Args:
        positives: each row's answers as places in the pool.
        normal_P: the hash of each normalised text of the pool, whose first D are the corpus.
    """
    return lambda row, ids, _scores: ~np.isin(normal_P[ids], normal_P[positives[row]])


def not_the_query(normal_Q: Hashes, normal_P: Hashes) -> Filter:
    """Keeps what is not, but for case, punctuation and spacing, the query's own text: both given as hashes of that."""
    return lambda row, ids, _scores: normal_P[ids] != normal_Q[row]


def not_among(own: Sequence[Ids]) -> Filter:
    """Keeps what is not among the row's own texts, as places in the pool."""
    return lambda row, ids, _scores: ~np.isin(ids, own[row])


@dataclass(frozen=True)
class Limits:
    """Scores that a negative may have, as in sentence-transformers' `mine_hard_negatives`; None sets no limit.

    Args:
        max_score: a negative's score is at most this.
        min_score: at least this.
        margin: at most the positive's score less this.
        relative_margin: at most the positive's score less this share of its magnitude.
    """

    max_score: float | None = None
    min_score: float | None = None
    margin: float | None = None
    relative_margin: float | None = None

    def excess(self, scores: Vectors, positive: float) -> dict[str, Vectors]:
        """By how much candidates' scores (N,) lie outside each limit that is set; above 0 is outside."""
        found: dict[str, Vectors] = {}
        if self.margin is not None:
            found["margin"] = scores - (positive - self.margin)
        if self.relative_margin is not None:
            found["relative margin"] = scores - (positive - abs(positive) * self.relative_margin)
        if self.max_score is not None:
            found["max score"] = scores - self.max_score
        if self.min_score is not None:
            found["min score"] = self.min_score - scores
        return found

    @property
    def without_floor(self) -> Limits:
        """The same, but a score may be as low as it will."""
        return Limits(self.max_score, None, self.margin, self.relative_margin)


def references(scores: Sequence[Vectors], how: str) -> Vectors:
    """The score (Q,) that margins are measured from: each row's `hardest` (lowest) positive, or the `mean` of them."""
    pick = np.min if how == "hardest" else np.mean
    return np.array([pick(row) if len(row) else np.inf for row in scores], dtype=np.float32)

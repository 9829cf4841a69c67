"""Hard negatives: what a model finds near a query although no row calls it an answer.

A block of rows at a time: a finder gives candidates, filters and limits (filters.py) sift them, a judge may look again,
and from a range of the ranks of what is left the negatives are drawn. A row that gets too few may be filled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from embedctl.mining.candidates import Candidates, Choice, Mined
from embedctl.mining.filters import Filter, Limits, Mask
from embedctl.search.exact import Ids, Vectors
from embedctl.search.finder import Finder

QUERY_BLOCK = {"cpu": 1024}
GPU_QUERY_BLOCK = 16384  # the corpus travels to the GPU once a block
JUDGED_BLOCK = 16  # a judge takes its time: the bar should move


class Judge(Protocol):
    """A second, slower opinion on candidates."""

    limits: Limits

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """The score of each row's texts."""
        ...

    def references(self, rows: Sequence[int]) -> Vectors:
        """The score of each row's positive."""
        ...


class Filler(Protocol):
    """More texts for a row that has too few."""

    def __call__(self, candidates: Candidates, taken: Ids, missing: int) -> tuple[Ids, Vectors]:
        """At most `missing` ids and their model scores, none of them in `taken`."""
        ...


@dataclass
class Miner:
    """Chooses negatives and counts what happens.

    Args:
        filters: name to filter; a candidate must pass all, and counts for the first that rejects it.
        choice: how negatives are chosen among those that pass.
        spare: candidates that the filters may reject at most, beyond which search need not look.
        limits: of the scores.
        references: (Q,) the positive's score of each row, where margins or a report need it.
        judge: a reranker that looks at what is left of the range.
        filler: what a row with too few is filled from.
    """

    filters: dict[str, Filter]
    choice: Choice
    spare: int
    limits: Limits = field(default_factory=Limits)
    references: Vectors | None = None
    judge: Judge | None = None
    filler: Filler | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def mine(self, rows: range, finder: Finder, block: int = QUERY_BLOCK["cpu"]) -> Iterator[Mined]:
        """The negatives of each row, in order.

        Args:
            rows: which.
            finder: gives scores and ids, -1 for none, of the nearest of a block of rows.
            block: rows at a time.
        """
        self.counts.update({f"rejected: {name}": 0 for name in self.filters})
        for start in rows[::block]:
            piece = slice(start, min(start + block, rows.stop))
            scores, ids = finder(piece, self.choice.last + self.spare)
            found = [self._sift(start + place, ids[place], scores[place]) for place in range(len(ids))]
            judged = self._judge(found) if self.judge else None
            yield from (
                self._choose(candidates, None if judged is None else float(judged[place]))
                for place, candidates in enumerate(found)
            )

    def reference(self, row: int) -> float:
        """The score of a row's positive, infinite where nobody asked for it."""
        return np.inf if self.references is None else float(self.references[row])

    def _sift(self, row: int, ids: Ids, scores: Vectors) -> Candidates:
        """What the filters leave, with how far it is outside the limits."""
        there = ids >= 0
        ids, scores, number = ids[there], scores[there], int(there.sum())
        rejected: Counter[str] = Counter()
        for name, keeps in self.filters.items():
            kept: Mask = keeps(row, ids, scores)
            rejected[name] += int((~kept).sum())
            ids, scores = ids[kept], scores[kept]
        unknown = np.full(len(ids), np.nan, np.float32)
        found = Candidates(row, ids, scores, np.full(len(ids), -np.inf, np.float32), unknown, rejected, number)
        found.limit(np.arange(len(ids)), self.limits.excess(scores, self.reference(row)))
        return found

    def _judge(self, found: list[Candidates]) -> Vectors:
        """Let the judge look at what may still be taken; gives its scores of the rows' positives."""
        assert self.judge is not None
        rows = [candidates.row for candidates in found]
        places = [candidates.allowed[: self.choice.last] for candidates in found]
        asked = [candidates.ids[own] for candidates, own in zip(found, places, strict=True)]
        references = self.judge.references(rows)
        for candidates, own, scores, positive in zip(
            found, places, self.judge.scores(rows, asked), references, strict=True
        ):
            candidates.judged[own] = scores
            candidates.limit(own, self.judge.limits.excess(scores, float(positive)), "rerank ")
        return references

    def _choose(self, candidates: Candidates, judged_reference: float | None) -> Mined:
        """The negatives of a row."""
        allowed = candidates.allowed
        chosen = self.choice.pick(candidates.row, allowed)
        ids, scores, judged = candidates.ids[chosen], candidates.scores[chosen], candidates.judged[chosen]
        missing = self.choice.number - len(ids)
        filled = 0
        if missing and self.filler:
            more, theirs = self.filler(candidates, ids, missing)
            filled, ids, scores = len(more), np.concatenate([ids, more]), np.concatenate([scores, theirs])
            judged = np.concatenate([judged, np.full(filled, np.nan, np.float32)])
        similarities = scores
        if self.judge is not None:
            unknown = np.isnan(judged)
            if unknown.any():
                judged[unknown] = self.judge.scores([candidates.row], [ids[unknown]])[0]
            scores = judged
        reference = self.reference(candidates.row) if judged_reference is None else judged_reference
        self._count(candidates, ids, filled, int((scores > reference).sum()))
        return Mined(ids, scores, similarities, filled, reference, candidates)

    def _count(self, candidates: Candidates, ids: Ids, filled: int, above: int) -> None:
        self.counts.update({f"rejected: {name}": n for name, n in candidates.rejected.items()})
        self.counts["negatives"] += len(ids)
        self.counts["filled"] += filled
        self.counts["above their positive"] += above
        self.counts["short rows"] += len(ids) < self.choice.number
        allowed = len(candidates.allowed)
        self.counts["rows with nearer ranks"] += self.choice.begins(allowed) < self.choice.first

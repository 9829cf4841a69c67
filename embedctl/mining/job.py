"""One job of mining: everything that it needs to know, and what it gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedctl.mining.candidates import Choice, Limits, Mined


@dataclass(frozen=True)
class MiningJob:
    """Rows to find negatives for, where to look for them, and what may be taken."""

    model: str  # a folder or a hub name
    trust_remote_code: bool  # whether code that comes with a model may run
    device: str | None  # as torch names it; the GPU where there is one if None
    files: tuple[str, ...]  # the rows
    corpus: str | None  # a file of the passages to search; the texts of the rows if None
    query_prompt: str | None  # prepended to queries without one of their own; the model's own if None
    passage_prompt: str | None  # prepended to passages; the model's own if None
    cache: Path | None  # a folder where vectors and scores are kept, or None
    ann: str | None  # hnsw or ivf for approximate search, or None
    also: str | None  # bm25 to add what a lexical search finds, or None
    choice: Choice  # which positions negatives are taken from, and how
    limits: Limits  # of the model's scores
    positive_score: str  # which of several positives margins are measured from: hardest or mean
    filter_options: Mapping[str, Any]  # option of a filter to its value
    rerank_with: str | None  # a cross-encoder that scores candidates again, or None
    rerank_limits: Limits  # of its scores
    rerank_batch_size: int  # pairs in one pass through it
    fill: str  # what a row with too few gets: fewer (nothing), random or relax
    keep_negatives: bool  # whether a row's own negatives stay, before the mined ones
    scores: bool  # whether pos_scores and neg_scores are written
    output: Path  # the file of rows
    report: Path | None  # a file for the HTML report, or None


@dataclass
class MiningResult:
    """What a job found; the fields are keys of `--json`."""

    rows: int = 0  # how many there are
    corpus: int = 0  # distinct passages that were searched
    negatives: int = 0  # of all rows
    short_rows: int = 0  # rows that got fewer than wanted
    short_file: Path | None = None  # says why, if there are any
    nearer_rows: int = 0  # rows whose range began nearer for lack of candidates
    filled: int = 0  # negatives that `fill` added
    above_positive: int = 0  # negatives that score above their row's positive
    rejected: Counter[str] = field(default_factory=Counter)  # how many candidates each filter and limit rejected

    def add(self, mined: Mined, wanted: int) -> None:
        """Count what a row got."""
        self.rows += 1
        self.negatives += len(mined.negatives)
        self.short_rows += len(mined.negatives) < wanted
        self.nearer_rows += mined.nearer
        self.filled += mined.filled
        self.above_positive += int((mined.negatives.above > 0).sum())
        self.rejected.update(mined.candidates.rejected)

"""One job of mining: everything that it needs to know, and what it gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedctl.mining.candidates import Choice, Mined
from embedctl.mining.limits import Limits


@dataclass(frozen=True)
class MiningJob:
    """Rows to find negatives for, where to look for them, and what may be taken.

    Args:
        model: a folder or a hub name.
        trust_remote_code: whether code that comes with a model may run.
        device: as torch names it; the GPU where there is one if None.
        files: the rows.
        corpus: a file of the passages to search; the texts of the rows if None.
        query_prompt: prepended to queries without one of their own; the model's own if None.
        passage_prompt: prepended to passages; the model's own if None.
        cache: a folder where vectors and scores are kept, or None.
        ann: hnsw or ivf for approximate search, or None.
        also: bm25 to add what a lexical search finds, or None.
        choice: which positions negatives are taken from, and how.
        limits: of the model's scores.
        positive_score: which of several positives margins are measured from: hardest or mean.
        filter_options: option of a filter to its value.
        rerank_with: a cross-encoder that scores candidates again, or None.
        rerank_limits: of its scores.
        rerank_batch_size: pairs in one pass through it.
        fill: what a row with too few gets: fewer (nothing), random or relax.
        keep_negatives: whether a row's own negatives stay, before the mined ones.
        scores: whether pos_scores and neg_scores are written.
        output: the file of rows.
        report: a file for the HTML report, or None.
    """

    model: str
    trust_remote_code: bool
    device: str | None
    files: tuple[str, ...]
    corpus: str | None
    query_prompt: str | None
    passage_prompt: str | None
    cache: Path | None
    ann: str | None
    also: str | None
    choice: Choice
    limits: Limits
    positive_score: str
    filter_options: Mapping[str, Any]
    rerank_with: str | None
    rerank_limits: Limits
    rerank_batch_size: int
    fill: str
    keep_negatives: bool
    scores: bool
    output: Path
    report: Path | None


@dataclass
class MiningResult:
    """What a job found; the fields are keys of `--json`.

    Args:
        rows: how many there are.
        corpus: distinct passages that were searched.
        negatives: of all rows.
        short_rows: rows that got fewer than wanted.
        short_file: says why, if there are any.
        nearer_rows: rows whose range began nearer for lack of candidates.
        filled: negatives that `fill` added.
        above_positive: negatives that score above their row's positive.
        rejected: how many candidates each filter and limit rejected.
    """

    rows: int = 0
    corpus: int = 0
    negatives: int = 0
    short_rows: int = 0
    short_file: Path | None = None
    nearer_rows: int = 0
    filled: int = 0
    above_positive: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, mined: Mined, wanted: int) -> None:
        """Count what a row got."""
        self.rows += 1
        self.negatives += len(mined.negatives)
        self.short_rows += len(mined.negatives) < wanted
        self.nearer_rows += mined.nearer
        self.filled += mined.filled
        self.above_positive += int((mined.negatives.above > 0).sum())
        self.rejected.update(mined.candidates.rejected)

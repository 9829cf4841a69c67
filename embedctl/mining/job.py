"""The settings and the result of one mining job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedctl.mining.candidates import Limits, MinedRow, Selection
from embedctl.outputs import Output

ROWS, SHORT_ROWS, REPORT = "mined rows", "rows with too few negatives", "mining report"  # contents: see `Output`


@dataclass(frozen=True)
class MiningJob:
    """Settings of a mining job."""

    model: str  # folder or Hugging Face Hub name
    trust_remote_code: bool  # whether code that is shipped with a model may run
    device: str | None  # a torch device; None for the GPU if there is one, else the CPU
    files: tuple[str, ...]  # files of rows
    corpus: str | None  # file of the passages to search; None for the texts of the rows
    query_prompt: str | None  # prompt of queries whose row has no prompt; None for the model's own
    passage_prompt: str | None  # prompt of passages; None for the model's own
    cache: Path | None  # folder of cached embeddings and scores; None disables the cache
    ann: str | None  # hnsw or ivf for approximate search; None for exact search
    also: str | None  # bm25 to add candidates of a BM25 search; None for none
    selection: Selection  # how negatives are selected
    limits: Limits  # limits on the embedding model's scores
    positive_score: str  # reference score of a row with several positives: hardest or mean
    filter_options: Mapping[str, Any]  # values of the filters' options, by name
    rerank_with: str | None  # folder or Hugging Face Hub name of the reranker; None for none
    rerank_limits: Limits  # limits on the reranker's scores
    rerank_batch_size: int  # pairs per forward pass of the reranker
    fill: str  # what a row with too few negatives receives: fewer (nothing more), random or relax
    keep_negatives: bool  # whether the row's own negatives are kept, before the mined ones
    scores: bool  # whether pos_scores and neg_scores are written
    output: Path  # output file
    report: Path | None  # HTML report; None for none

    @property
    def short_file(self) -> Path:
        """The file with the reasons per row with fewer negatives than requested."""
        return self.output.parent / f"{self.output.stem}.short.jsonl"

    @property
    def outputs(self) -> list[Output]:
        """The files that the job may write."""
        report = [Output("--report", self.report, REPORT)] if self.report else []
        return [Output("--output", self.output, ROWS), Output("--output", self.short_file, SHORT_ROWS), *report]


@dataclass
class MiningResult:
    """Counts of a finished job. The field names are keys of `--json`."""

    rows: int = 0
    corpus: int = 0  # distinct passages searched
    negatives: int = 0  # mined negatives of all rows
    short_rows: int = 0  # rows with fewer negatives than requested
    short_file: Path | None = None  # file with the reasons per short row; None if there are no such rows
    nearer_rows: int = 0  # rows with `range_extended`: see `MinedRow`
    filled: int = 0  # negatives that `fill` added
    scored_rows: int = 0  # rows with teacher scores
    above_positive: int = 0  # negatives with a score above the row's reference score
    rejected: Counter[str] = field(default_factory=Counter)  # candidates rejected per filter and limit

    def add(self, mined: MinedRow, requested: int) -> None:
        """Add the counts of one row, for which `requested` negatives were requested."""
        self.rows += 1
        self.negatives += len(mined.negatives)
        self.short_rows += len(mined.negatives) < requested
        self.nearer_rows += mined.range_extended
        self.filled += mined.filled
        self.above_positive += int((mined.negatives.above_positive > 0).sum())
        self.rejected.update(mined.candidates.rejected)

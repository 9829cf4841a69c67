"""Summary of a mining job, and an HTML report with score histograms and sample rows.

Similarities of the embedding model and scores of the reranker have different scales, so each has its own chart. All
texts are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from embedctl.config import LossSection, RunSection
from embedctl.console import plural
from embedctl.distributed.random import random_bits
from embedctl.mining.candidates import MinedRow
from embedctl.mining.data import MiningData, Scorer
from embedctl.mining.filters import LABELS
from embedctl.mining.job import MiningJob, MiningResult
from embedctl.reports.charts import ScoreCounts, draw_histograms
from embedctl.reports.page import html_page
from embedctl.search.exact import Vectors
from embedctl.shell import embedctl_command

SAMPLES = 20  # sample rows in the report
MAX_CHARACTERS = 600  # per text
GROUPS = ("positives", "selected negatives", "candidates rejected by a score limit")
# field of `Candidates` with the scores: axis title of their chart
AXIS_TITLES = {
    "similarities": "similarity of query and passage (embedding model)",
    "rerank_scores": "score of query and passage (reranker)",
}
CHARTS_NOTE = "Number of passages per score. The dotted line is the median."
SAMPLES_NOTE = (
    "Half of these rows are those whose negatives have the highest scores in comparison with the positive; the others "
    "are a random sample. A negative on an orange background has a higher score than a positive of the row. It may be "
    "a false negative: a passage that answers the query although it is not listed as a positive."
)

ScoredText = tuple[str, list[float], str]  # positive or negative, one score per scorer, text


@dataclass(frozen=True)
class Sample:
    """One sample row of the report: its query, its texts and their scores."""

    row: int  # number of the row, from 1
    max_above_positive: float  # the highest score of a negative minus the reference score
    query: str
    texts: list[ScoredText]


@dataclass
class Report:
    """Score counts of all rows and the sample rows: half with the highest `max_above_positive`, half at random."""

    data: MiningData
    scorers: Mapping[str, Scorer]  # field of `Candidates` to its scorer; the first one decides what is highlighted
    seed: int  # of the random sample
    counts: dict[str, dict[str, ScoreCounts]] = field(
        default_factory=lambda: {column: {group: ScoreCounts() for group in GROUPS} for column in AXIS_TITLES}
    )
    highest_samples: list[Sample] = field(default_factory=list)
    random_samples: list[tuple[int, Sample]] = field(default_factory=list)  # random sort key and sample

    def add(self, mined: MinedRow, positives: Sequence[str]) -> None:
        """Add the negatives and the positives of one row."""
        row, candidates, negatives = mined.candidates.row, mined.candidates, mined.negatives
        ids = self.data.distinct.indices_of(positives)
        positive_scores = {column: scorer([row], [ids])[0] for column, scorer in self.scorers.items()}
        not_selected = ~np.isin(candidates.ids, negatives.ids)
        rejected = candidates.take(np.flatnonzero((candidates.violation > 0) & not_selected))
        for column, scores in positive_scores.items():
            rejected_scores = getattr(rejected, column)
            groups = (scores, getattr(negatives, column), rejected_scores[~np.isnan(rejected_scores)])
            for counts, group in zip(self.counts[column].values(), groups, strict=True):
                counts.add(group)
        scored = _scored_texts("positive", positives, positive_scores.values())
        texts = [self.data.distinct.texts[index] for index in negatives.ids]
        scored += _scored_texts("negative", texts, [getattr(negatives, column) for column in positive_scores])
        max_above_positive = float(negatives.above_positive.max(initial=-np.inf))
        sample = Sample(row + 1, max_above_positive, self.data.queries[row], scored)
        samples = [*self.highest_samples, sample]
        self.highest_samples = sorted(samples, key=lambda sample: -sample.max_above_positive)[: SAMPLES // 2]
        sort_key = int(random_bits(self.seed, row, 2)[0])
        self.random_samples = sorted([*self.random_samples, (sort_key, sample)], key=lambda pair: pair[0])[:SAMPLES]

    def samples(self) -> list[Sample]:
        """Return the sample rows in descending order of `max_above_positive`."""
        samples = {sample.row: sample for sample in self.highest_samples}
        for _, sample in self.random_samples:
            if len(samples) < SAMPLES:
                samples.setdefault(sample.row, sample)
        return sorted(samples.values(), key=lambda sample: -sample.max_above_positive)

    def html(self, facts: dict[str, str]) -> str:
        """Return the HTML page; `facts` is the result of `summary`."""
        table = "".join(f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items())
        images = {title: draw_histograms(self.counts[column], title) for column, title in AXIS_TITLES.items()}
        charts = "".join(f'<p><img alt="{title}" src="{data}"></p>' for title, data in images.items() if data)
        rows = "".join(map(_section, self.samples()))
        body = f"<table>{table}</table><h2>Scores</h2><p>{CHARTS_NOTE}</p>{charts}"
        body += f"<h2>Sample rows</h2><p>{SAMPLES_NOTE}</p>{rows}"
        return html_page("Mined hard negatives", body)


def _scored_texts(label: str, texts: Iterable[str], columns: Iterable[Vectors]) -> list[ScoredText]:
    """Return texts with their label and, from one array per scorer, their scores."""
    return [(label, list(map(float, scores)), text) for text, *scores in zip(texts, *columns, strict=True)]


def _section(sample: Sample) -> str:
    """Return the HTML of a sample row."""
    lowest_positive = min((scores[0] for label, scores, _ in sample.texts if label == "positive"), default=np.inf)
    reranked = any(len(scores) > 1 for _, scores, _ in sample.texts)
    header = ("", *(("reranker score", "similarity") if reranked else ("similarity",)), "text")
    lines = f"<tr>{''.join(f'<th>{name}</th>' for name in header)}</tr>" + "".join(
        f'<tr class="{"above" if label == "negative" and scores[0] > lowest_positive else label}"><td>{label}</td>'
        f"{''.join(f'<td>{score:.3f}</td>' for score in scores)}"
        f"<td>{escape(text[:MAX_CHARACTERS])}{'…' if len(text) > MAX_CHARACTERS else ''}</td></tr>"
        for label, scores, text in sample.texts
    )
    return f"<section><h3>Row {sample.row}, query: {escape(sample.query)}</h3><table>{lines}</table></section>"


def next_step(job: MiningJob, result: MiningResult) -> str:
    """Return what to do with the mined rows: the command that trains the model on them.

    The model learns nothing from its own scores, so rows with them are for another model. They are cosine similarities,
    which need the temperature of the student's.
    """
    if result.scored_rows and not job.rerank_with:
        option = f"--teacher-temperature {LossSection().temperature:g}"
        return f"train another model on {job.output} with {option}; the teacher scores in it are those of {job.model}"
    return next_command(job)


def next_command(job: MiningJob) -> str:
    """Return the command that trains the model on the mined rows, in a folder that does not exist yet."""
    words = ["train", "--model", job.model, "--dataset", job.output]
    folders = (Path(name) for name in (RunSection().output_dir, *(f"tuned-{number}" for number in range(1, 1000))))
    free = next((folder for folder in folders if not folder.exists()), Path("FOLDER"))
    return embedctl_command(*words, "--output-dir", free, trust_remote_code=job.trust_remote_code)


def shortage(job: MiningJob, result: MiningResult) -> str:
    """Return a message about the rows with fewer negatives than requested, and what to do; empty without such rows."""
    if not result.short_rows:
        return ""
    rows = f"{plural(result.short_rows, 'row has', 'rows have')} fewer than {plural(job.selection.count, 'negative')}"
    total = f"the output has {plural(result.negatives, 'negative')} for {plural(result.rows, 'row')}"
    wider = "a wider --range, " if job.rerank_with else ""  # without a reranker, the whole corpus was searched
    action = f"use {wider}weaker limits, --fill random or a larger --corpus"
    return f"{rows} ({total}). {result.short_file} contains the reasons; {action}"


def summary(job: MiningJob, result: MiningResult) -> dict[str, str]:
    """Return label and value of each line of the summary; lines with a count of zero are left out."""
    selection, above = job.selection, result.above_positive
    limit = "--rerank-margin 0" if job.rerank_with else "--margin 0"
    reject = f"use {limit}{' without --fill relax' if job.fill == 'relax' else ''} to reject such passages"
    found = plural(above, "negative scores above its row's positive", "negatives score above their row's positive")
    facts = {
        "rows": f"{result.rows:,}",
        "corpus": plural(result.corpus, "distinct passage"),
        "negatives": f"{result.negatives:,} ({result.negatives / result.rows:.1f} per row)",
        "rejected candidates": ", ".join(f"{LABELS.get(name, name)}: {n:,}" for name, n in result.rejected.items()),
        "possible false negatives": f"{found}; {reject}",
        "added by --fill": plural(result.filled, "negative"),
        "output": str(job.output),
        "extended range": f"{plural(result.nearer_rows, 'row')} had too few candidates in --range "
        f"{selection.start}-{selection.stop}, so the range was extended to more similar passages",
        "incomplete rows": f"{plural(result.short_rows, 'row')}; {result.short_file} contains the reasons",
    }
    counts = {"possible false negatives": above, "added by --fill": result.filled}
    counts |= {"extended range": result.nearer_rows, "incomplete rows": result.short_rows}
    return {label: fact for label, fact in facts.items() if counts.get(label, 1)}

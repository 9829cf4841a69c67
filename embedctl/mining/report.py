"""One HTML file to read before training: score histograms, and rows, those whose negatives may be false first.

A model's similarities and a reranker's scores are on different scales, so each has a chart of its own. Every text is
escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from embedctl.distributed.random import mix
from embedctl.mining.candidates import Mined
from embedctl.mining.job import MiningJob, MiningResult
from embedctl.mining.pool import MiningData, Scorer
from embedctl.reports.charts import Scores, picture
from embedctl.reports.page import page
from embedctl.search.exact import Vectors

SAMPLES = 20
SHOWN = 600  # characters of a text
GROUPS = ("positives", "kept", "rejected")
# A column of `Candidates`: the caption of its chart.
SCALES = {"similarities": "similarity to the query, by the model", "rerank_scores": "score, by the cross-encoder"}
NOTE = "Shaded negatives score above the row's positive: perhaps answers."

Line = tuple[str, list[float], str]  # label, score by each scorer, text


@dataclass(frozen=True)
class Sample:
    """A row to read."""

    row: int  # its number from 1
    suspicion: float  # the most that a negative scores above the positive
    query: str  # its query
    lines: list[Line]  # its texts


@dataclass
class Report:
    """Counts scores and keeps the rows that are shown: half the most suspicious, half any."""

    data: MiningData  # the rows and texts
    scorers: Mapping[str, Scorer]  # a column of `Candidates` to what gave it; first the one whose scores decide
    seed: int  # of the choice of the other rows
    counts: dict[str, dict[str, Scores]] = field(
        default_factory=lambda: {column: {group: Scores() for group in GROUPS} for column in SCALES}
    )
    worst: list[Sample] = field(default_factory=list)
    others: list[tuple[int, Sample]] = field(default_factory=list)

    def add(self, mined: Mined, positives: Sequence[str]) -> None:
        """Learn a row: what was mined for it, and its own positives."""
        row, found, negatives = mined.candidates.row, mined.candidates, mined.negatives
        places = self.data.pool.places_of(positives)
        scores = {column: scorer([row], [places])[0] for column, scorer in self.scorers.items()}
        outside = found.take(np.flatnonzero((found.excess > 0) & ~np.isin(found.ids, negatives.ids)))
        for column, known in scores.items():
            rejected = getattr(outside, column)
            groups = (known, getattr(negatives, column), rejected[~np.isnan(rejected)])
            for counted, group in zip(self.counts[column].values(), groups, strict=True):
                counted.add(group)
        lines = _lines("positive", positives, scores.values())
        texts = [self.data.pool.texts[place] for place in negatives.ids]
        lines += _lines("negative", texts, [getattr(negatives, column) for column in scores])
        sample = Sample(row + 1, float(negatives.above.max(initial=-np.inf)), self.data.queries[row], lines)
        self.worst = sorted([*self.worst, sample], key=lambda one: -one.suspicion)[: SAMPLES // 2]
        self.others = sorted([*self.others, (int(mix(self.seed, row, 2)[0]), sample)], key=lambda one: one[0])[:SAMPLES]

    def samples(self) -> list[Sample]:
        """The rows shown, the most suspicious first."""
        shown = {one.row: one for one in self.worst}
        for _, one in self.others:
            if len(shown) < SAMPLES:
                shown.setdefault(one.row, one)
        return sorted(shown.values(), key=lambda one: -one.suspicion)

    def html(self, facts: dict[str, str]) -> str:
        """The page; `facts` are the lines of the summary."""
        summary = "".join(f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items())
        pictures = {SCALES[column]: picture(groups, SCALES[column]) for column, groups in self.counts.items()}
        charts = "".join(f'<p><img alt="{caption}" src="{data}"></p>' for caption, data in pictures.items() if data)
        rows = "".join(map(_section, self.samples()))
        body = f"<table>{summary}</table><h2>Scores</h2>{charts}<h2>Rows to read</h2><p>{NOTE}</p>{rows}"
        return page("mine-negatives", body)


def _lines(label: str, texts: Iterable[str], columns: Iterable[Vectors]) -> list[Line]:
    """What a sample shows of texts, given each scorer's scores."""
    return [(label, list(map(float, scores)), text) for text, *scores in zip(texts, *columns, strict=True)]


def _section(sample: Sample) -> str:
    lowest = min((scores[0] for label, scores, _ in sample.lines if label == "positive"), default=np.inf)
    reranked = any(len(scores) > 1 for _, scores, _ in sample.lines)
    names = "".join(f"<th>{name}</th>" for name in ("", *(("cross-encoder", "model") if reranked else ("model",)), ""))
    lines = f"<tr>{names}</tr>" + "".join(
        f'<tr class="{"above" if label == "negative" and scores[0] > lowest else label}"><td>{label}</td>'
        f"{''.join(f'<td>{score:.3f}</td>' for score in scores)}"
        f"<td>{escape(text[:SHOWN])}{'…' if len(text) > SHOWN else ''}</td></tr>"
        for label, scores, text in sample.lines
    )
    return f"<section><h3>row {sample.row}: {escape(sample.query)}</h3><table>{lines}</table></section>"


def summary(job: MiningJob, result: MiningResult) -> dict[str, str]:
    """What was found, and where fewer or nearer texts had to do."""
    first, last = job.choice.first, job.choice.last
    facts = {
        "rows": f"{result.rows:,}",
        "corpus": f"{result.corpus:,} distinct passages",
        "negatives": f"{result.negatives:,} ({result.negatives / result.rows:.1f} a row)",
        "rejected": ", ".join(f"{name} {number:,}" for name, number in result.rejected.items()),
        "above": f"{result.above_positive:,} negatives score above their row's positive: perhaps answers",
        "filled": f"{result.filled:,} negatives by --fill {job.fill}",
        "output": str(job.output),
        "next": f"embedctl train --dataset {job.output}",
        "nearer": f"{result.nearer_rows:,} rows: too few candidates for ranks {first}-{last}, so they begin nearer",
        "short": f"{result.short_rows:,} rows have fewer than {job.choice.number}; {result.short_file} says why",
    }
    numbers = {"above": result.above_positive, "filled": result.filled}
    numbers |= {"nearer": result.nearer_rows, "short": result.short_rows}
    return {name: fact for name, fact in facts.items() if numbers.get(name, 1)}

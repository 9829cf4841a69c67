"""One HTML file to read before training: score histograms, and rows whose negatives may be answers first.

A model's similarities and a cross-encoder's scores are different scales, so each has a picture of its own.
Self-contained: pictures are in the page, no script, nothing fetched; every text is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import numpy as np

from embedctl.distributed.random import mix
from embedctl.mining.candidates import Mined
from embedctl.reports.charts import COLOURS, Scores, picture
from embedctl.search.exact import Vectors

SAMPLES = 20
SHOWN = 600  # characters of a text
SCALES = {"model": "similarity to the query, by the model", "judge": "score, by the cross-encoder"}
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}td{vertical-align:top;"
    "padding:.2rem .6rem}th{text-align:left}.above{background:#fde7d9}img{max-width:100%}"
    "section{border-top:1px solid #ccc}"
)


@dataclass(frozen=True)
class Sample:
    """A row to read: its query, and label, scores (the judge's, if any, then the model's) and text of each text."""

    row: int
    suspicion: float
    query: str
    texts: list[tuple[str, list[float], str]]


@dataclass(frozen=True)
class Texts:
    """Texts of a row with the model's similarities and, if there is one, the judge's scores."""

    texts: list[str]
    similarities: Vectors
    judged: Vectors | None = None

    def lines(self, label: str) -> list[tuple[str, list[float], str]]:
        """What a sample shows of them."""
        columns = [self.similarities] if self.judged is None else [self.judged, self.similarities]
        return [(label, [float(column[place]) for column in columns], text) for place, text in enumerate(self.texts)]


@dataclass
class Report:
    """Counts scores and keeps the rows that are shown: half the most suspicious, half any.

    Args:
        seed: of the choice of the others.
    """

    seed: int
    scales: dict[str, dict[str, Scores]] = field(
        default_factory=lambda: {scale: {name: Scores() for name in COLOURS} for scale in SCALES}
    )
    worst: list[Sample] = field(default_factory=list)
    others: list[tuple[int, Sample]] = field(default_factory=list)

    def add(self, mined: Mined, query: str, positives: Texts, negatives: list[str]) -> None:
        """Learn a row: its mined negatives with their texts, and its positives."""
        found = mined.candidates
        kept = Texts(negatives, mined.similarities, None if positives.judged is None else mined.scores)
        outside = (found.excess > 0) & ~np.isin(found.ids, mined.ids)
        model = {"positives": positives.similarities, "kept": kept.similarities, "rejected": found.scores[outside]}
        for name, scores in model.items():
            self.scales["model"][name].add(scores)
        if positives.judged is not None and kept.judged is not None:
            refused = found.judged[outside & ~np.isnan(found.judged)]
            for name, scores in {"positives": positives.judged, "kept": kept.judged, "rejected": refused}.items():
                self.scales["judge"][name].add(scores)
        suspicion = float(mined.scores.max(initial=-np.inf) - mined.reference)
        row = found.row
        sample = Sample(row + 1, suspicion, query, positives.lines("positive") + kept.lines("negative"))
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
        pictures = {scale: picture(groups, SCALES[scale]) for scale, groups in self.scales.items()}
        charts = "".join(f'<p><img alt="{SCALES[scale]}" src="{data}"></p>' for scale, data in pictures.items() if data)
        rows = "".join(map(_section, self.samples()))
        return (
            f'<!doctype html><html><head><meta charset="utf-8"><title>mine-negatives</title><style>{STYLE}</style>'
            f"</head><body><h1>mine-negatives</h1><table>{summary}</table><h2>Scores</h2>{charts}<h2>Rows to read</h2>"
            f"<p>Shaded negatives score above the row's positive: perhaps answers.</p>{rows}</body></html>\n"
        )


def _section(sample: Sample) -> str:
    lowest = min((scores[0] for label, scores, _ in sample.texts if label == "positive"), default=np.inf)
    judged = any(len(scores) > 1 for _, scores, _ in sample.texts)
    names = "".join(f"<th>{name}</th>" for name in ("", *(("cross-encoder", "model") if judged else ("model",)), ""))
    lines = f"<tr>{names}</tr>" + "".join(
        f'<tr class="{"above" if label == "negative" and scores[0] > lowest else label}"><td>{label}</td>'
        f"{''.join(f'<td>{score:.3f}</td>' for score in scores)}"
        f"<td>{escape(text[:SHOWN])}{'…' if len(text) > SHOWN else ''}</td></tr>"
        for label, scores, text in sample.texts
    )
    return f"<section><h3>row {sample.row}: {escape(sample.query)}</h3><table>{lines}</table></section>"

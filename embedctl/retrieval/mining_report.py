"""One HTML file to read before training: score histograms, and rows whose negatives may be answers first.

Self-contained: inline SVG, no script, nothing fetched; every text is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

from embedctl.data.random import mix
from embedctl.retrieval.candidates import Mined
from embedctl.retrieval.index import Vectors

BINS = np.linspace(-1, 1, 81)
SAMPLES = 20
SHOWN = 600  # characters of a text
COLOURS = {"positives": "#2a9d4a", "kept": "#2563c9", "rejected": "#d0662a"}
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}td{vertical-align:top;"
    "padding:.2rem .6rem}.above{background:#fde7d9}svg{display:block}section{border-top:1px solid #ccc}"
)


@dataclass(frozen=True)
class Sample:
    """A row to read: its query, and label, score and text of its positives and negatives."""

    row: int
    suspicion: float
    query: str
    texts: list[tuple[str, float, str]]


@dataclass
class Report:
    """Counts scores and keeps the rows that are shown: half the most suspicious, half any.

    Args:
        seed: of the choice of the others.
    """

    seed: int
    counts: dict[str, NDArray[np.int64]] = field(
        default_factory=lambda: {name: np.zeros(len(BINS) - 1, np.int64) for name in COLOURS}
    )
    worst: list[Sample] = field(default_factory=list)
    others: list[tuple[int, Sample]] = field(default_factory=list)

    def add(self, mined: Mined, query: str, positives: tuple[list[str], Vectors], negatives: list[str]) -> None:
        """Learn a row: its mined negatives with their texts, and its positives with their scores."""
        outside = mined.candidates.excess > 0
        groups = {"positives": positives[1], "kept": mined.scores, "rejected": mined.candidates.scores[outside]}
        for name, scores in groups.items():
            self.counts[name] += np.histogram(np.clip(scores, -1, 1), BINS)[0]
        texts = [("positive", float(score), text) for text, score in zip(*positives, strict=True)]
        texts += [("negative", float(score), text) for text, score in zip(negatives, mined.scores, strict=True)]
        suspicion = float(mined.scores.max(initial=-np.inf) - mined.reference)
        row = mined.candidates.row
        sample = Sample(row + 1, suspicion, query, texts)
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
        charts = "".join(_histogram(name, counts) for name, counts in self.counts.items())
        rows = "".join(map(_section, self.samples()))
        return (
            f'<!doctype html><html><head><meta charset="utf-8"><title>mine-negatives</title><style>{STYLE}</style>'
            f"</head><body><h1>mine-negatives</h1><table>{summary}</table><h2>Scores</h2>{charts}<h2>Rows to read</h2>"
            f"<p>Shaded negatives score above the row's positive: perhaps answers.</p>{rows}</body></html>\n"
        )


def _histogram(name: str, counts: NDArray[np.int64]) -> str:
    """Bars over scores from -1 to 1."""
    width, height, highest = 10, 100, max(1, int(counts.max()))
    bars = "".join(
        f'<rect x="{place * width}" y="{height - count / highest * height:.1f}" width="{width - 1}" '
        f'height="{count / highest * height:.1f}" fill="{COLOURS[name]}"/>'
        for place, count in enumerate(counts.tolist())
    )
    ticks = "".join(
        f'<text x="{(score + 1) * 400}" y="{height + 16}" font-size="12" text-anchor="{anchor}">{score:g}</text>'
        for score, anchor in ((-1, "start"), (-0.5, "middle"), (0, "middle"), (0.5, "middle"), (1, "end"))
    )
    box = f'viewBox="0 0 800 {height + 20}" width="100%"'
    return f"<h3>{name}: {int(counts.sum()):,}</h3><svg {box}>{bars}{ticks}</svg>"


def _section(sample: Sample) -> str:
    lowest = min((score for label, score, _ in sample.texts if label == "positive"), default=np.inf)
    lines = "".join(
        f'<tr class="{"above" if label == "negative" and score > lowest else label}"><td>{label}</td>'
        f"<td>{score:.3f}</td><td>{escape(text[:SHOWN])}{'…' if len(text) > SHOWN else ''}</td></tr>"
        for label, score, text in sample.texts
    )
    return f"<section><h3>row {sample.row}: {escape(sample.query)}</h3><table>{lines}</table></section>"

"""Counting scores whose range nobody knows beforehand, and drawing groups of them on one scale."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from embedctl.search.exact import Vectors

CELL = 0.005  # of scores; what is counted together
BINS = 80  # drawn at most
COLOURS = ("#2a9d4a", "#2563c9", "#d0662a")


@dataclass
class Scores:
    """How often each score occurs, to the width of a cell; memory follows the range, not the number."""

    cells: Counter[int] = field(default_factory=Counter)

    def add(self, scores: Vectors) -> None:
        """Count scores (N,)."""
        self.cells.update(np.floor(np.asarray(scores, dtype=np.float64) / CELL).astype(np.int64).tolist())

    def __len__(self) -> int:
        return self.cells.total()

    @property
    def median(self) -> float:
        """The score of which half are below, to the width of a cell; there is at least one."""
        cells = sorted(self.cells)
        passed = np.cumsum([self.cells[cell] for cell in cells])
        return float((cells[int(np.searchsorted(passed, passed[-1] / 2))] + 0.5) * CELL)

    def histogram(self, edges: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many (B,) lie between each two of the edges (B + 1,), which are cells."""
        cells = np.fromiter(self.cells, dtype=np.int64)
        counts = np.fromiter(self.cells.values(), dtype=np.int64)
        return np.histogram(cells, edges - 0.5, weights=counts)[0].astype(np.int64)


def common_edges(groups: Mapping[str, Scores]) -> NDArray[np.int64]:
    """The borders, as cells, of at most BINS bins that hold every score of every group."""
    cells = [cell for scores in groups.values() for cell in scores.cells]
    first, last = min(cells), max(cells)
    width = -(-(last + 1 - first) // BINS)
    return np.arange(first, last + 1 + width, width)


def picture(groups: Mapping[str, Scores], axis: str) -> str:
    """The groups that are not empty as a picture, one below the other over one axis: an address with all data in it."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    present = {name: scores for name, scores in groups.items() if len(scores)}
    if not present:
        return ""
    edges, colours = common_edges(present), dict(zip(groups, cycle(COLOURS), strict=False))
    figure = Figure(figsize=(8, 0.8 + 1.3 * len(present)), layout="constrained")
    panels = figure.subplots(len(present), sharex=True, squeeze=False).ravel()
    for panel, (name, scores) in zip(panels, present.items(), strict=True):
        panel.stairs(scores.histogram(edges), edges * CELL, fill=True, color=colours[name])
        panel.axvline(scores.median, color="black", linewidth=1, linestyle=":")
        panel.set_title(f"{name}: {len(scores):,}, median {scores.median:.2f}", fontsize=10, loc="left")
        panel.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(axis)
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "embedctl"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()

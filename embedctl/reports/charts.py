"""Count scores whose range is not known in advance, and draw histograms of several groups of scores."""

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

CELL_WIDTH = 0.005  # scores in the same cell of this width are counted together
MAX_BINS = 80
COLOURS = ("#2a9d4a", "#2563c9", "#d0662a")


@dataclass
class ScoreCounts:
    """Counts of scores per cell of width `CELL_WIDTH`. Memory depends on the range of the scores, not their number."""

    cells: Counter[int] = field(default_factory=Counter)  # cell number -> number of scores

    def add(self, scores: Vectors) -> None:
        """Add scores (N,)."""
        self.cells.update(np.floor(np.asarray(scores, dtype=np.float64) / CELL_WIDTH).astype(np.int64).tolist())

    def __len__(self) -> int:
        return self.cells.total()

    @property
    def median(self) -> float:
        """The median, as the middle of its cell. There must be at least one score."""
        cells = sorted(self.cells)
        cumulative = np.cumsum([self.cells[cell] for cell in cells])
        return float((cells[int(np.searchsorted(cumulative, cumulative[-1] / 2))] + 0.5) * CELL_WIDTH)

    def histogram(self, edges: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of scores (B,) in each bin; `edges` (B + 1,) are cell numbers."""
        cells = np.fromiter(self.cells, dtype=np.int64)
        counts = np.fromiter(self.cells.values(), dtype=np.int64)
        return np.histogram(cells, edges - 0.5, weights=counts)[0].astype(np.int64)


def bin_edges(groups: Mapping[str, ScoreCounts]) -> NDArray[np.int64]:
    """Return the edges, as cell numbers, of at most `MAX_BINS` bins that contain the scores of all groups."""
    cells = [cell for scores in groups.values() for cell in scores.cells]
    first, last = min(cells), max(cells)
    width = -(-(last + 1 - first) // MAX_BINS)
    return np.arange(first, last + 1 + width, width)


def draw_histograms(groups: Mapping[str, ScoreCounts], axis: str) -> str:
    """Draw one histogram per group that is not empty, one below the other with a common x axis labelled `axis`.

    Return the SVG image as a data URI, or an empty string if all groups are empty.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    nonempty = {name: scores for name, scores in groups.items() if len(scores)}
    if not nonempty:
        return ""
    edges, colours = bin_edges(nonempty), dict(zip(groups, cycle(COLOURS), strict=False))
    figure = Figure(figsize=(8, 0.8 + 1.3 * len(nonempty)), layout="constrained")
    panels = figure.subplots(len(nonempty), sharex=True, squeeze=False).ravel()
    for panel, (name, scores) in zip(panels, nonempty.items(), strict=True):
        panel.stairs(scores.histogram(edges), edges * CELL_WIDTH, fill=True, color=colours[name])
        panel.axvline(scores.median, color="black", linewidth=1, linestyle=":")
        panel.set_title(f"{name}: {len(scores):,}, median {scores.median:.2f}", fontsize=10, loc="left")
        panel.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(axis)
    stream = io.BytesIO()
    with rc_context({"svg.hashsalt": "embedctl"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()

"""The tables of an evaluation."""

from __future__ import annotations

from embedctl import console
from embedctl.evaluation.compare import Comparison


def show(title: str, metrics: dict[str, float]) -> None:
    """One model's metrics."""
    console.table(title, ["metric", "value"], [[name, f"{value:.4f}"] for name, value in metrics.items()])


def show_beside(
    title: str, models: tuple[str, str], metrics: dict[str, float], baseline: dict[str, float], found: dict[str, Comparison]
) -> None:
    """A model beside a baseline, with the differences and what chance would explain."""
    rows = [
        [
            name,
            f"{value:.4f}",
            f"{baseline[name]:.4f}",
            f"{found[name].difference:+.4f}",
            f"{found[name].low:+.4f} to {found[name].high:+.4f}",
            f"{found[name].won} / {found[name].lost}",
        ]
        for name, value in metrics.items()
    ]
    console.table(title, ["metric", *models, "difference", "95 % interval", "won / lost"], rows)

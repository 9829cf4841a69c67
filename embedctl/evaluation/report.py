"""The tables of an evaluation."""

from __future__ import annotations

from embedctl import console
from embedctl.evaluation.compare import Comparison
from embedctl.evaluation.job import EvalJob, Evaluation
from embedctl.resources import shown


def show(job: EvalJob, found: Evaluation, metric: str) -> None:
    """Draw what was measured; beside a baseline, say what `metric` shows."""
    title = f"{job.model}: {found.queries:,} queries, {found.documents:,} documents ({shown(job.source)})"
    if found.baseline is None:
        show_alone(title, found.metrics)
    else:
        show_beside(f"{title}\nbaseline: {job.baseline}", found.metrics, found.baseline, found.difference)
        console.say(verdict(metric, found.difference[metric]))


def show_alone(title: str, metrics: dict[str, float]) -> None:
    """One model's metrics."""
    console.table(title, ["metric", "value"], [[name, f"{value:.4f}"] for name, value in metrics.items()])


def show_beside(
    title: str, metrics: dict[str, float], baseline: dict[str, float], found: dict[str, Comparison]
) -> None:
    """A model beside a baseline: both values, the difference with its 95 % interval, and on how many queries."""
    columns = ["metric", "model", "baseline", "change", "95 % interval", "won/lost/tied"]
    rows = [
        [
            name,
            f"{value:.4f}",
            f"{baseline[name]:.4f}",
            f"{found[name].difference:+.4f}",
            f"{found[name].low:+.3f} to {found[name].high:+.3f}",
            f"{found[name].won}/{found[name].lost}/{found[name].tied}",
        ]
        for name, value in metrics.items()
    ]
    console.table(title, columns, rows)


def verdict(metric: str, found: Comparison) -> str:
    """One sentence on what the comparison shows."""
    words = {
        "better": "the model is better than the baseline",
        "worse": "the model is worse than the baseline",
        "no clear difference": "chance could explain the difference: its interval holds 0",
    }
    return f"{metric}: {words[found.verdict]}"

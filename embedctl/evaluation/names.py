"""The names of the metrics, and what ir-measures calls them. To add a metric: a line in `METRICS`."""

from __future__ import annotations

from collections.abc import Sequence

from embedctl.errors import ConfigError

METRICS = {
    "nDCG@10": "nDCG@10",
    "MRR@10": "RR@10",
    "Recall@1": "R@1",
    "Recall@10": "R@10",
    "Recall@100": "R@100",
    "MAP": "AP",
}


def of_dim(metric: str, dim: int) -> str:
    """The name of a metric of vectors cut to their leading dimensions."""
    return f"{metric} dim {dim}"


def expect_metric(name: str, dims: Sequence[int] = ()) -> None:
    """Raise a ConfigError that names the metrics if `name` is none of them, nor one of leading dimensions `dims`."""
    if name in METRICS or name in {of_dim(metric, dim) for metric in METRICS for dim in dims}:
        return
    shortened = f", or one of leading dimensions such as '{of_dim('nDCG@10', dims[0])}'" if dims else ""
    raise ConfigError(f"--metric {name}: no such metric", f"use one of {', '.join(METRICS)}{shortened}")

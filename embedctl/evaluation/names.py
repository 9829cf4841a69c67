"""Names of the metrics. To add a metric, add a line to `METRICS`."""

from __future__ import annotations

from collections.abc import Sequence

from embedctl.errors import ConfigError

METRICS = {  # name in this program: name in ir-measures
    "nDCG@10": "nDCG@10",
    "MRR@10": "RR@10",
    "Recall@1": "R@1",
    "Recall@10": "R@10",
    "Recall@100": "R@100",
    "MAP": "AP",
}


def metric_with_dim(metric: str, dim: int) -> str:
    """Return the name of a metric of embeddings that are truncated to `dim` leading dimensions."""
    return f"{metric} dim {dim}"


def check_metric(name: str, dims: Sequence[int] = ()) -> None:
    """Check that `name` is a metric, or a metric with one of the leading dimensions `dims`.

    Raises:
        ConfigError: `name` is not a metric; the hint lists the metrics.
    """
    if name in METRICS or name in {metric_with_dim(metric, dim) for metric in METRICS for dim in dims}:
        return
    example = f", or one with leading dimensions such as '{metric_with_dim('nDCG@10', dims[0])}'" if dims else ""
    raise ConfigError(f"--metric {name}: no such metric", f"use one of {', '.join(METRICS)}{example}")

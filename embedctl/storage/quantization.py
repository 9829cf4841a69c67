"""Smaller numbers for vectors, with sentence-transformers' meaning of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.errors import ConfigError

CALIBRATION = 100  # texts below which int8 ranges say little


class Quantizer:
    """Turns float32 vectors into the stored type.

    Args:
        dtype: float32; float16; int8: 256 steps between the least and the greatest value of each dimension, values
            beyond them clipped; binary: the sign of each dimension as a bit, packed, minus 128.
        ranges: (2, H) least and greatest values of int8, or None to take those of the first block.
    """

    def __init__(self, dtype: str, ranges: NDArray[np.float32] | None = None) -> None:
        self.dtype, self.ranges = dtype, ranges

    @property
    def learns(self) -> bool:
        """Whether the type has ranges, which the first block decides."""
        return self.dtype == "int8"

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """The vectors (N, H) as stored: (N, H), or (N, H / 8) for binary.

        Raises:
            ConfigError: int8 with too few texts to learn ranges from.
        """
        if self.dtype in ("float32", "float16"):
            return vectors.astype(self.dtype)
        from sentence_transformers.util.quantization import quantize_embeddings

        if self.learns and self.ranges is None:
            self.ranges = _learn_ranges(vectors)
        precision: Any = self.dtype
        return np.asarray(quantize_embeddings(vectors, precision=precision, ranges=self.ranges))


def dequantized(stored: NDArray[Any], ranges: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The vectors (N, H) that stored ones stand for: floats as they are, int8 at the middle of their steps.

    Args:
        stored: float32, float16 or int8.
        ranges: (2, H) of int8.
    """
    if ranges is None or stored.dtype != np.int8:
        return stored.astype(np.float32)
    steps = (ranges[1] - ranges[0]) / 255
    return np.asarray(ranges[0] + (stored.astype(np.float32) + 128.5) * steps, dtype=np.float32)


def _learn_ranges(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(vectors) < CALIBRATION:
        raise ConfigError(
            f"--dtype int8: needs at least {CALIBRATION} texts to learn its ranges from, not {len(vectors)}",
            "use float16 or binary",
        )
    console.info(f"int8: the ranges of the dimensions are those of the first {len(vectors):,} texts")
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)])


def ranges_beside(path: Path) -> Path:
    """Where the ranges (2, H) of a file of int8 vectors stand."""
    return path.with_name(f"{path.stem}.ranges.npy")

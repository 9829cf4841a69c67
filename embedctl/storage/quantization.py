"""Convert embeddings to smaller number types, with the same meaning as in sentence-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.errors import ConfigError

MIN_CALIBRATION_TEXTS = 100  # with fewer texts, the ranges of int8 are too inaccurate


class Quantizer:
    """Converts float32 vectors to the stored type.

    Args:
        dtype: float32; float16; int8: 256 values in steps of (maximum - minimum) / 255 of each dimension, with values
            outside this range clipped; binary: the sign of each dimension as a bit, packed into bytes, minus 128.
        ranges: (2, H) minimum and maximum of each dimension for int8, or None to compute them from the first block.
    """

    def __init__(self, dtype: str, ranges: NDArray[np.float32] | None = None) -> None:
        self.dtype, self.ranges = dtype, ranges

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Return the vectors (N, H) in the stored type: (N, H), or (N, ceil(H / 8)) for binary.

        Raises:
            ConfigError: the type is int8 and there are too few texts to compute the ranges.
        """
        if self.dtype in ("float32", "float16"):
            return vectors.astype(self.dtype)
        from sentence_transformers.util.quantization import quantize_embeddings

        if self.dtype == "int8" and self.ranges is None:
            self.ranges = _compute_ranges(vectors)
        precision: Any = self.dtype
        return np.asarray(quantize_embeddings(vectors, precision=precision, ranges=self.ranges))


def dequantize(stored: NDArray[Any], ranges: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return stored vectors (N, H) as float32. With `ranges` (2, H), an int8 number becomes the middle of its step."""
    if ranges is None or stored.dtype != np.int8:
        return stored.astype(np.float32)
    steps = (ranges[1] - ranges[0]) / 255
    return np.asarray(ranges[0] + (stored.astype(np.float32) + 128.5) * steps, dtype=np.float32)


def _compute_ranges(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the minimum and maximum of each dimension (2, H) of N vectors (N, H).

    Raises:
        ConfigError: there are too few vectors.
    """
    if len(vectors) < MIN_CALIBRATION_TEXTS:
        texts = console.plural(len(vectors), "text")
        needed = f"at least {MIN_CALIBRATION_TEXTS} texts are needed to compute the range of each dimension"
        message = f"--dtype int8: {needed}, but the input has only {texts}"
        raise ConfigError(message, "use --dtype float16 or --dtype binary")
    console.info(f"int8: the range of each dimension is computed from the first {len(vectors):,} texts")
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)])

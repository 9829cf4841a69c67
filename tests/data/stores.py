"""Rows as arrays in memory, for tests of what draws from them or mines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedctl.data.store import RowsByKey, RowStore, visits_of
from embedctl.tokens.spans import Integers


def row_store(
    kind: NDArray[np.uint8],
    source: NDArray[np.int32],
    bounds: Integers,
    pos_count: Integers,
    text: Integers,
    score: NDArray[np.float32],
) -> RowStore:
    """Rows of these arrays, and what finds them, made by sorting in memory."""
    by_query, ends = RowsByKey.of(text[bounds[:-1]]), np.cumsum(visits_of(kind, pos_count))
    return RowStore(kind, source, bounds, pos_count, text, score, by_query, ends)

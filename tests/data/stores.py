"""Row stores in memory, for tests of batches and mining."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedctl.data.store import RowsByKey, RowStore, visits_with_explode
from embedctl.tokens.spans import Integers


def row_store(
    kind: NDArray[np.uint8],
    source: NDArray[np.int32],
    bounds: Integers,
    pos_count: Integers,
    text_ids: Integers,
    score: NDArray[np.float32],
) -> RowStore:
    """Return a row store of these arrays, with the index by query and the cumulative visits computed in memory."""
    by_query, ends = RowsByKey.build(text_ids[bounds[:-1]]), np.cumsum(visits_with_explode(kind, pos_count))
    return RowStore(kind, source, bounds, pos_count, text_ids, score, by_query, ends)

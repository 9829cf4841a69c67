"""Scores of rows' queries with texts are inner products, and only the corpus is searched."""

from __future__ import annotations

import numpy as np

from embedctl.data.rows import Row
from embedctl.mining.encoded import Encoded
from embedctl.mining.pool import gather


def test_scores_are_inner_products_and_the_corpus_comes_first():
    data = gather([Row("q", ("a",)), Row("r", ("b", "x"))], ["x", "y"], keep_negatives=False)
    draw = np.random.default_rng(0)
    encoded = Encoded(data, draw.random((2, 3), np.float32), draw.random((4, 3), np.float32), "cpu")
    first, second = encoded.scores([1, 0], [np.array([3, 0]), np.array([], dtype=np.int64)])
    np.testing.assert_allclose(first, encoded.text_PH[[3, 0]] @ encoded.query_QH[1], rtol=1e-6)
    assert second.shape == (0,)
    np.testing.assert_array_equal(encoded.corpus, encoded.text_PH[:2])

"""What may not be taken: positives, their near-duplicates, a row's own negatives; and the list of the filters."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from embedctl.data.rows import Row
from embedctl.mining.filters import FILTERS, filters_of, no_near_duplicate, not_among
from embedctl.mining.pool import gather, normal_hashes

NOTHING = np.zeros(3, np.float32)


def test_near_duplicates_of_a_rows_answers_go():
    texts = ["A river.", "a river", "a stone", "A STONE", "the answer"]
    keeps = no_near_duplicate([np.array([0]), np.array([2, 4])], normal_hashes(texts))
    assert keeps(0, np.arange(3), NOTHING).tolist() == [False, False, True]
    assert keeps(1, np.arange(1, 4), NOTHING).tolist() == [True, False, False]


def test_a_rows_own_texts_go():
    assert not_among([np.array([1]), np.array([0])])(1, np.arange(3), NOTHING).tolist() == [False, True, True]


@pytest.mark.parametrize("keep", [False, True])
def test_each_filter_of_the_list_is_applied_where_the_job_has_a_use_for_it(keep):
    data = gather([Row("a Query", ("a positive",), ("own",))], ["A positive!", "own", "a query"], keep_negatives=keep)
    filters = filters_of(SimpleNamespace(keep_negatives=keep), data)
    assert list(filters) == list(FILTERS)[: 3 + keep]
    kept = {name: keeps(0, np.arange(4), np.zeros(4, np.float32)).tolist() for name, keeps in filters.items()}
    expected = {"answers": [1, 1, 1, 0], "near-duplicates of answers": [0, 1, 1, 0], "the query itself": [1, 1, 0, 1]}
    assert kept == expected | ({"own negatives": [1, 0, 1, 1]} if keep else {})

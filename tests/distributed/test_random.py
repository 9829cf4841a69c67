"""Random bits and permutations as functions of integers."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.distributed.random import random_bits, shuffled


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 4097])
def test_shuffled_is_a_permutation(size):
    found = shuffled(np.arange(size), size, key=5)
    assert sorted(found.tolist()) == list(range(size))
    assert (shuffled(np.arange(size)[::-1], size, key=5) == found[::-1]).all()
    if size > 10:
        assert (found != shuffled(np.arange(size), size, key=6)).any()


def test_half_of_the_bits_are_ones_and_values_differ():
    values = random_bits(1, np.arange(4096))
    ones = np.unpackbits(values.view(np.uint8)).mean()
    assert 0.49 < ones < 0.51
    assert len(np.unique(values)) == 4096

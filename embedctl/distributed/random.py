"""Random numbers and permutations as pure functions of integers.

There is no generator state to save and no permutation to keep in memory. The bits are those of splitmix64's finalizer
(Steele, Lea and Flood, OOPSLA 2014); the permutation is a Feistel network with cycle walking (Black and Rogaway, CT-RSA
2002).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Unsigned = NDArray[np.uint64]
FEISTEL_ROUNDS = 6


def random_bits(*parts: NDArray[np.integer] | int) -> Unsigned:
    """Return 64 random bits that depend only on the given integers; elementwise for arrays, with broadcasting."""
    state = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = (state ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def shuffled(indices: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Permute N indices (N,) in [0, size): `key` selects the permutation of range(size) that is applied to each."""
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    values = _feistel(indices.astype(np.uint64), half, key)
    while (outside := values >= size).any():
        values[outside] = _feistel(values[outside], half, key)
    return values.astype(np.int64)


def _feistel(values: Unsigned, half: int, key: int) -> Unsigned:
    """Permute integers of 2 * `half` bits."""
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for number in range(FEISTEL_ROUNDS):
        left, right = right, left ^ (random_bits(key, number, right) & mask)
    return (left << bits) | right

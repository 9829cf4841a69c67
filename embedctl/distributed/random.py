"""Random choices as pure functions of numbers: no state to save, no permutation to keep in memory.

The mixing function is splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014); the shuffle is a Feistel network
with cycle walking (Black and Rogaway, CT-RSA 2002).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Unsigned = NDArray[np.uint64]
ROUNDS = 6


def mix(*parts: NDArray[np.integer] | int) -> Unsigned:
    """64 well-mixed bits of the integers given, elementwise with broadcasting."""
    state = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = (state ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def shuffled(places: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Where `places` of range(size) go in the permutation `key`; all places give a permutation.

    Args:
        places: (N,) each in [0, size).
        size: of the range.
        key: which permutation.
    """
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    values = _feistel(places.astype(np.uint64), half, key)
    while (outside := values >= size).any():
        values[outside] = _feistel(values[outside], half, key)
    return values.astype(np.int64)


def _feistel(values: Unsigned, half: int, key: int) -> Unsigned:
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (mix(key, turn, right) & mask)
    return (left << bits) | right

"""Rows that got too few: filled with what limits rejected by least, or with random texts, and never with a positive."""

from __future__ import annotations

import numpy as np

from embedctl.mining.candidates import Choice, Mined
from embedctl.mining.fill import RandomTexts, relaxed
from embedctl.mining.filters import not_among
from embedctl.mining.limits import Limits
from embedctl.mining.miner import Miner, Sieve
from embedctl.search.finder import exact

QUERY = np.ones((1, 1), np.float32)
VECTORS = np.linspace(1, 0.1, 40, dtype=np.float32)[:, None]  # the query finds them in their order
SCORES = VECTORS[:, 0].astype(np.float64)


def sieve(limits: Limits, positives: list[int]) -> Sieve:
    return Sieve({"answers": not_among([np.array(positives)])}, limits, np.ones(1, np.float32))


def mine(miner: Miner) -> Mined:
    (mined,) = miner.mine(range(1), exact(QUERY, VECTORS))
    return mined


def test_relaxing_takes_the_least_outside_and_never_an_answer():
    limited = sieve(Limits(max_score=0.5, min_score=0.45), [20, 0])
    mined = mine(Miner(limited, Choice(0, 40, 8, "top", 0), 3, filler=relaxed))
    inside = [place for place in range(40) if 0.45 <= SCORES[place] <= 0.5]
    found = mined.negatives.ids.tolist()
    assert found[: len(inside)] == inside
    outside = [place for place in range(40) if place not in (*inside, 20, 0)]
    distance = {place: max(SCORES[place] - 0.5, 0.45 - SCORES[place]) for place in outside}
    assert found[len(inside) :] == sorted(outside, key=distance.__getitem__)[: 8 - len(inside)]
    assert mined.filled == 8 - len(inside)


def test_random_texts_fill_but_none_that_filters_or_upper_limits_reject():
    limited = sieve(Limits(max_score=0.6, min_score=0.5), [30, 39])
    below = 0
    for seed in range(20):
        filler = RandomTexts(limited, seed, QUERY, VECTORS)
        found = mine(Miner(limited, Choice(0, 40, 12, "top", seed), 3, filler=filler)).negatives.ids.tolist()
        assert len(found) == len(set(found)) == 12
        assert not {30, 39} & set(found)
        assert all(SCORES[place] <= 0.6 for place in found)
        below += sum(SCORES[place] < 0.5 for place in found)
    assert below


def test_random_texts_are_none_that_the_reranker_refused():
    limited = sieve(Limits(), [39])
    candidates = limited.sift(0, np.arange(39), VECTORS[:39, 0])
    candidates.rerank_scores[:30], candidates.excess[:30] = 1.0, 0.1
    for seed in range(20):
        found = RandomTexts(limited, seed, QUERY, VECTORS)(candidates, candidates.take(np.array([30, 31])), 5)
        assert set(found.ids.tolist()) <= set(range(32, 39))
        np.testing.assert_allclose(found.similarities, SCORES[found.ids], atol=1e-6)

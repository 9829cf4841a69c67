"""Tests of prefetching and device-to-host copies: same items, same order, exceptions raised in the caller."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
import torch

from embedctl.tokens.pipeline import HostCopy, delay_by_one, prefetch, prefetch_map


def test_prefetch_map_keeps_the_order_and_the_depth():
    taken: list[int] = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    with closing(prefetch_map(lambda number: number * number, items(), depth=2)) as results:
        assert next(results) == 0
        assert taken == [0, 1, 2]
        assert list(results) == [number * number for number in range(1, 10)]


def test_an_exception_on_the_thread_is_raised_in_the_caller_and_the_thread_ends():
    def divide(number: int) -> float:
        return 1 / (3 - number)

    results = prefetch_map(divide, range(9), depth=2)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embedctl-prefetch")]


def test_delay_by_one_yields_an_item_after_its_successor_has_been_taken():
    taken: list[int] = []

    def items():
        for number in range(3):
            taken.append(number)
            yield number

    yielded = [(number, list(taken)) for number in delay_by_one(items())]
    assert yielded == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2])]


def test_a_host_copy_equals_the_tensor_and_is_detached():
    tensor = torch.arange(3.0, requires_grad=True)
    assert HostCopy(tensor * 2).wait().tolist() == [0, 2, 4]


def test_prefetch_yields_the_same_items_and_then_the_exception():
    def items():
        yield from ([1], [])  # an empty item must not end the iteration
        raise OSError("gone")

    prefetched = prefetch(items())
    assert [next(prefetched), next(prefetched)] == [[1], []]
    with pytest.raises(OSError, match="gone"):
        next(prefetched)
    assert list(prefetch(iter([]))) == []

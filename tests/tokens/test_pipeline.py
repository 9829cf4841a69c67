"""Made ahead and fetched behind: the same things in the same order, errors where they are asked for."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
import torch

from embedctl.tokens.pipeline import Arrival, ahead, one_behind, taken_ahead


def test_what_is_made_ahead_comes_in_order_and_no_more_than_asked_for():
    taken: list[int] = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    with closing(ahead(lambda number: number * number, items(), depth=2)) as made:
        assert next(made) == 0
        assert taken == [0, 1, 2]
        assert list(made) == [number * number for number in range(1, 10)]


def test_a_failure_on_the_thread_is_raised_here_and_the_thread_ends():
    def make(number: int) -> float:
        return 1 / (3 - number)

    made = ahead(make, range(9), depth=2)
    assert [next(made) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embedctl-ahead")]


def test_each_item_comes_after_the_next_was_launched():
    launched: list[int] = []

    def launch():
        for number in range(3):
            launched.append(number)
            yield number

    seen = [(number, list(launched)) for number in one_behind(launch())]
    assert seen == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2])]


def test_an_arrival_is_the_tensor_and_no_part_of_a_graph():
    tensor = torch.arange(3.0, requires_grad=True)
    assert Arrival(tensor * 2).wait().tolist() == [0, 2, 4]


def test_what_is_taken_ahead_is_the_same_and_its_error_comes_after_what_was_before():
    def items():
        yield from ([1], [])  # an empty item is one too
        raise OSError("gone")

    taken = taken_ahead(items())
    assert [next(taken), next(taken)] == [[1], []]
    with pytest.raises(OSError, match="gone"):
        next(taken)
    assert list(taken_ahead(iter([]))) == []

"""Keeping a device busy: what it needs next is made on a thread, and its results are fetched one step behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice, repeat, takewhile
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], depth: int) -> Generator[Made]:
    """`make` of each item, in order, made on a thread of its own before it is asked for.

    What `make` raises is raised here. Items are taken one by one, at most `depth` ahead of what is asked for.
    """
    waiting: deque[Future[Made]] = deque()
    own = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    thread = ThreadPoolExecutor(1, "embedctl-ahead", _use_gpu, (own,))
    try:
        for item in items:
            waiting.append(thread.submit(make, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def taken_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next one taken on a thread of its own while the last one is used."""
    one_by_one = ahead(lambda _: list(islice(items, 1)), repeat(None), depth=1)
    return chain.from_iterable(takewhile(bool, one_by_one))


def _use_gpu(number: int | None) -> None:
    """A new thread begins with GPU 0, where a rank of another GPU has no business."""
    if number is not None:
        torch.cuda.set_device(number)


class Arrival:
    """A tensor on its way from the device to the CPU."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._event = torch.cuda.Event() if tensor.is_cuda else None  # type: ignore[no-untyped-call]
        self._tensor = tensor.detach().to("cpu", non_blocking=tensor.is_cuda)
        if self._event is not None:
            self._event.record()

    def wait(self) -> NDArray[np.float32]:
        """The tensor's numbers, once they are here; what the device was given since is not waited for."""
        if self._event is not None:
            self._event.synchronize()
        numbers: NDArray[np.float32] = self._tensor.numpy()
        return numbers


def one_behind(launched: Iterable[Item]) -> Iterator[Item]:
    """Each item after the next one has been launched."""
    before: list[Item] = []
    for item in launched:
        yield from before
        before = [item]
    yield from before

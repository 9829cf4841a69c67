"""Prefetching on a background thread and asynchronous device-to-host copies, so that the device does not idle."""

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
Result = TypeVar("Result")


def prefetch_map(function: Callable[[Item], Result], items: Iterable[Item], depth: int) -> Generator[Result]:
    """Yield `function(item)` for each item, in order. A background thread computes up to `depth` results ahead.

    `items` is iterated on the caller's thread. An exception of `function` is raised in place of the item's result.
    """
    pending: deque[Future[Result]] = deque()
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    executor = ThreadPoolExecutor(1, "embedctl-prefetch", _set_gpu, (gpu,))
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Return an iterator over the same items that fetches the next item on a background thread."""
    one_by_one = prefetch_map(lambda _: list(islice(items, 1)), repeat(None), depth=1)
    return chain.from_iterable(takewhile(bool, one_by_one))


def _set_gpu(index: int | None) -> None:
    """Select the GPU of the calling thread: CUDA's current device is set per thread and is GPU 0 by default."""
    if index is not None:
        torch.cuda.set_device(index)


class HostCopy:
    """An asynchronous copy of a tensor from the device to the CPU."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._event = torch.cuda.Event() if tensor.is_cuda else None  # type: ignore[no-untyped-call]
        self._tensor = tensor.detach().to("cpu", non_blocking=tensor.is_cuda)
        if self._event is not None:
            self._event.record()

    def wait(self) -> NDArray[np.float32]:
        """Wait for the copy, but not for later work of the device, and return it as an array."""
        if self._event is not None:
            self._event.synchronize()
        array: NDArray[np.float32] = self._tensor.numpy()
        return array


def delay_by_one(items: Iterable[Item]) -> Iterator[Item]:
    """Yield each item after its successor has been taken from `items`.

    If `items` starts work on the device, the caller waits for one result while the next one is computed.
    """
    previous: list[Item] = []
    for item in items:
        yield from previous
        previous = [item]
    yield from previous

"""Keeping a device busy: what it needs next is made on a thread, and its results are fetched one step behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(make: Callable[[Item], Made], items: Iterable[Item], depth: int) -> Generator[Made]:
    """`make` of each item, in order, made on a thread of its own before it is asked for.

    Args:
        make: called on the thread; what it raises is raised here.
        items: taken one by one, at most `depth` ahead of what is asked for.
        depth: results that wait.
    """
    waiting: deque[Future[Made]] = deque()
    thread = ThreadPoolExecutor(1, "embedctl-ahead")
    try:
        for item in items:
            waiting.append(thread.submit(make, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Block:
    """Texts ready for the model.

    Args:
        rows: (N,) their places in the input, in the order of the passes.
        passes: the features of each pass, on the device.
    """

    rows: NDArray[np.int64]
    passes: list[dict[str, Any]]


class Landing:
    """Vectors on their way from the device.

    Args:
        rows: (N,) places in the output.
        vectors: (N, H) on the device.
    """

    def __init__(self, rows: NDArray[np.int64], vectors: torch.Tensor) -> None:
        self._rows = rows
        self._arrived = torch.cuda.Event() if vectors.is_cuda else None  # type: ignore[no-untyped-call]
        self._vectors = vectors.to("cpu", non_blocking=vectors.is_cuda)
        if self._arrived is not None:
            self._arrived.record()

    def wait(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The rows and their vectors, once they are here."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._rows, self._vectors.numpy()


def landed(launched: Iterable[Landing]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """What each launch gave, waited for only after the next one has been launched."""
    before: Landing | None = None
    for landing in launched:
        if before is not None:
            yield before.wait()
        before = landing
    if before is not None:
        yield before.wait()

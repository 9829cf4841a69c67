"""Many 64-bit hashes on the disk: sorted apart by their leading bits, so that only a small share is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
PARTS = 256


class HashParts:
    """Records of one or more 64-bit numbers, the first a hash, that can be gone through in the order of the hashes.

    Args:
        folder: for the parts; the caller removes it.
        width: numbers of a record.
    """

    def __init__(self, folder: Path, width: int = 1) -> None:
        self.width = width
        self._stack = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = [folder / f"part{part:03d}.bin" for part in range(PARTS)]
        self._streams: list[BinaryIO] = [self._stack.enter_context(path.open("wb")) for path in self._paths]

    def add(self, records: Hashes) -> None:
        """Append records (N,) or (N, width)."""
        table = records.reshape(-1, self.width)
        part = (table[:, 0] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(part, kind="stable")
        table, edges = table[order], np.searchsorted(part[order], np.arange(PARTS + 1))
        for place in np.flatnonzero(np.diff(edges)):
            table[edges[place] : edges[place + 1]].tofile(self._streams[place])

    def sorted_parts(self) -> Iterator[Hashes]:
        """The records (n, width) part by part, sorted by hash and then in the order in which they came; ends the writing."""
        self._stack.close()
        for path in self._paths:
            table = np.fromfile(path, dtype=np.uint64).reshape(-1, self.width)
            path.unlink()
            yield table[np.argsort(table[:, 0], kind="stable")]

"""Many 64-bit hashes on the disk, gone through part by part in their order, with only a small share in memory.

Blocks of records, each sorted by the leading bits of its hashes, lie in one file; a part is one slice of each block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
PARTS = 256
BLOCK_RECORDS = 1 << 19


def text_hash(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class HashParts:
    """Records of one or more 64-bit numbers, the first a hash, that can be gone through in the order of the hashes.

    Memory: a block of records, then a part of them; disk: 8 bytes a number, `width` numbers a record, in a file in
    `folder`, which the caller removes.
    """

    def __init__(self, folder: Path, width: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.width = width
        self._path = folder / "hashes.tmp"
        self._path.touch()
        self._waiting: list[Hashes] = []
        self._edges: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]

    def add(self, records: Hashes) -> None:
        """Append records (N,) or (N, width)."""
        self._waiting.append(records.reshape(-1, self.width))
        if sum(map(len, self._waiting)) >= BLOCK_RECORDS:
            self._write_block()

    def _write_block(self) -> None:
        """Append the waiting records to the file, sorted apart by their leading bits."""
        table = np.concatenate(self._waiting) if self._waiting else np.zeros((0, self.width), dtype=np.uint64)
        part = (table[:, 0] >> np.uint64(56)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        with self._path.open("ab") as stream:
            table[order].tofile(stream)
        ends = np.searchsorted(part[order], np.arange(PARTS), side="right")
        self._edges.append(self._edges[-1][-1] + np.concatenate([[0], ends]))
        self._waiting = []

    def sorted_parts(self) -> Iterator[Hashes]:
        """The records (n, width), part by part, sorted by hash and then as they came; ends the writing."""
        for part in self._parts():
            yield part[np.argsort(part[:, 0], kind="stable")]

    def repeated_parts(self) -> Iterator[Hashes]:
        """The same, without those whose hash no other record has, which is a lot quicker if they are few."""
        for part in self._parts():
            ordered = np.sort(part[:, 0])
            again = ordered[1:][ordered[1:] == ordered[:-1]]
            if len(again):
                shared = part[np.isin(part[:, 0], again)]
                yield shared[np.argsort(shared[:, 0], kind="stable")]

    def _parts(self) -> Iterator[Hashes]:
        self._write_block()
        with self._path.open("rb") as stream:
            for number in range(PARTS):
                slices = [(int(edges[number]), int(edges[number + 1])) for edges in self._edges[1:]]
                part = np.concatenate([self._read(stream, *edges) for edges in slices])
                if len(part):
                    yield part
        self._path.unlink()

    def _read(self, stream: BinaryIO, first: int, end: int) -> Hashes:
        stream.seek(first * self.width * 8)
        return np.fromfile(stream, dtype=np.uint64, count=(end - first) * self.width).reshape(-1, self.width)

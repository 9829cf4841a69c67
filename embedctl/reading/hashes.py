"""Store many 64-bit hashes on disk and read them back in ascending order, one partition in memory at a time.

The leading 8 bits of a hash determine its partition. Records are written to one file in blocks, each ordered by
partition, so that a partition consists of one slice of each block.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
WORD = re.compile(r"\w+")
PARTITIONS = 256
BLOCK_RECORDS = 1 << 16  # per block about 10 MB of memory while it is sorted


def text_hash(text: str) -> int:
    """Return 64 bits that identify a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def normalize_text(text: str) -> str:
    """Return the words of a text, casefolded, in NFKC and joined by spaces; a text without words is unchanged.

    Near-duplicates, which differ only in case, width, punctuation and spacing, have the same result.
    """
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold())) or text


class HashPartitions:
    """Records of `width` 64-bit numbers on disk. The first number is a hash, by which the records can be sorted.

    Memory: one block of records while writing, one partition while reading. Disk: 8 bytes per number, in a temporary
    file in `folder`; the caller removes the folder.
    """

    def __init__(self, folder: Path, width: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.width = width
        self._path = folder / "hashes.tmp"
        self._pending: list[Hashes] = []
        self._bounds: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]  # per block: bounds of its partitions

    def add(self, records: Hashes) -> None:
        """Append records (N,) or (N, width)."""
        self._pending.append(records.reshape(-1, self.width))
        if sum(map(len, self._pending)) >= BLOCK_RECORDS:
            self._write_block()

    def _write_block(self) -> None:
        """Append the pending records to the file, ordered by partition."""
        records = np.concatenate([np.zeros((0, self.width), dtype=np.uint64), *self._pending])
        partition = (records[:, 0] >> np.uint64(56)).astype(np.uint8)
        order = np.argsort(partition, kind="stable")
        with self._path.open("ab") as stream:
            records[order].tofile(stream)
        ends = np.searchsorted(partition[order], np.arange(PARTITIONS), side="right")
        self._bounds.append(self._bounds[-1][-1] + np.concatenate([[0], ends]))
        self._pending = []

    def sorted_partitions(self) -> Iterator[Hashes]:
        """Yield all records (n, width) per partition, sorted by hash. Records with equal hashes keep their order.

        No record can be added afterwards.
        """
        for partition in self._partitions():
            yield partition[np.argsort(partition[:, 0], kind="stable")]

    def sorted_duplicates(self) -> Iterator[Hashes]:
        """Yield the same, but only the records whose hash occurs more than once. This is faster if they are few."""
        for partition in self._partitions():
            ordered = np.sort(partition[:, 0])
            repeated = ordered[1:][ordered[1:] == ordered[:-1]]
            if len(repeated):
                duplicates = partition[np.isin(partition[:, 0], repeated)]
                yield duplicates[np.argsort(duplicates[:, 0], kind="stable")]

    def _partitions(self) -> Iterator[Hashes]:
        self._write_block()
        with self._path.open("rb") as stream:
            for number in range(PARTITIONS):
                slices = [(int(bounds[number]), int(bounds[number + 1])) for bounds in self._bounds[1:]]
                partition = np.concatenate([self._read(stream, *bounds) for bounds in slices])
                if len(partition):
                    yield partition
        self._path.unlink()

    def _read(self, stream: BinaryIO, first: int, end: int) -> Hashes:
        stream.seek(first * self.width * 8)
        return np.fromfile(stream, dtype=np.uint64, count=(end - first) * self.width).reshape(-1, self.width)

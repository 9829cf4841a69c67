"""The texts of an index, in a file from which the text of any row can be read without reading the others.

`texts.jsonl` contains {"row": n, "text": ...} per line. `offsets.npy` (N + 1, 1) contains the byte offset of each of
the N lines and then the size of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

from embedctl.storage.writers import open_writer

TEXTS, OFFSETS = "texts.jsonl", "offsets.npy"
BLOCK = 4096  # offsets per write


def store_texts(texts: Iterator[str], folder: Path) -> Iterator[str]:
    """Yield the texts, and write each of them to the folder first. The files are complete after the last text."""
    offsets = [0]
    with (folder / TEXTS).open("wb") as stream, open_writer(folder / OFFSETS) as writer:
        for row, text in enumerate(texts):
            stream.write(orjson.dumps({"row": row, "text": text}, option=orjson.OPT_APPEND_NEWLINE))
            offsets.append(stream.tell())
            if len(offsets) >= BLOCK:
                writer.write((), np.array([offsets], dtype=np.int64).T)
                offsets.clear()
            yield text
        if offsets:
            writer.write((), np.array([offsets], dtype=np.int64).T)


class TextMap:
    """The texts of a folder by row index (0-based). They are read from disk, not held in memory."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / TEXTS
        self.size = self.path.stat().st_size  # bytes
        self.offsets = np.load(folder / OFFSETS, mmap_mode="r")[:, 0]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        with self.path.open("rb") as stream:
            stream.seek(int(self.offsets[row]))
            text: str = orjson.loads(stream.readline())["text"]
        return text

"""The texts behind the rows of an index, in a file of which any row is read without the others.

`texts.jsonl` holds {"row": n, "text": ...} a line, `offsets.npy` (N + 1, 1) the byte where each line begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

from embedctl.storage.writers import writing

TEXTS, OFFSETS = "texts.jsonl", "offsets.npy"
BLOCK = 4096


def recorded(texts: Iterator[str], folder: Path) -> Iterator[str]:
    """The texts themselves, each written to the folder before it is given; the files are whole after the last one."""
    pending = [0]
    with (folder / TEXTS).open("wb") as stream, writing(folder / OFFSETS) as offsets:
        for row, text in enumerate(texts):
            stream.write(orjson.dumps({"row": row, "text": text}, option=orjson.OPT_APPEND_NEWLINE))
            pending.append(stream.tell())
            if len(pending) >= BLOCK:
                offsets.write((), np.array([pending], dtype=np.int64).T)
                pending.clear()
            yield text
        if pending:
            offsets.write((), np.array([pending], dtype=np.int64).T)


class TextMap:
    """The texts of a folder by row; nothing is held in memory."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / TEXTS
        self.offsets = np.load(folder / OFFSETS, mmap_mode="r")[:, 0]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        with self.path.open("rb") as stream:
            stream.seek(int(self.offsets[row]))
            text: str = orjson.loads(stream.readline())["text"]
        return text

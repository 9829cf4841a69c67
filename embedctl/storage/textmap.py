"""The texts behind the rows of an index, in a file of which any row is read without the others.

`texts.jsonl` holds {"row": n, "text": ...} a line, `offsets.npy` (N + 1,) the byte where each line begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import orjson

from embedctl.storage.writers import NpySink

TEXTS, OFFSETS = "texts.jsonl", "offsets.npy"
BLOCK = 4096


class TextMapWriter:
    """Takes texts in the order of their rows; `with` writes the last of them."""

    def __init__(self, folder: Path) -> None:
        self.stream = (folder / TEXTS).open("wb")
        self.offsets = NpySink(folder / OFFSETS)
        self.pending: list[int] = [0]
        self.row = 0

    def through(self, texts: Iterator[str]) -> Iterator[str]:
        """The texts themselves, written on their way."""
        for text in texts:
            line = orjson.dumps({"row": self.row, "text": text}, option=orjson.OPT_APPEND_NEWLINE)
            self.row += 1
            self.pending.append(self.stream.tell() + len(line))
            self.stream.write(line)
            if len(self.pending) >= BLOCK:
                self._flush()
            yield text

    def _flush(self) -> None:
        self.offsets.write([""] * len(self.pending), np.array(self.pending, dtype=np.int64)[:, None])
        self.pending = []

    def __enter__(self) -> TextMapWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self.stream.close()
        self.offsets.__exit__(kind, value, trace)


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

"""Encoding an input of any length in bounded memory: a block of texts at a time, to a file or to shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.model.embedder import Embedder
from embedctl.retrieval.quantize import Quantizer
from embedctl.retrieval.sinks import Shards, sink_for

BLOCK = 16_384


@dataclass(frozen=True)
class Encoder:
    """A model with the way it is asked.

    Args:
        embedder: the model.
        prompt: put before each text.
        dim: leading dimensions kept, or None for all.
        batch_tokens: tokens in one pass, or None for the device's default.
        quantize: into the stored type.
    """

    embedder: Embedder
    prompt: str
    dim: int | None
    batch_tokens: int | None
    quantize: Quantizer

    def to_file(self, texts: Iterator[str], path: Path) -> int:
        """Encode texts into one file; returns how many there were."""
        with console.progress("encode", None, "texts") as bar, sink_for(path) as sink:
            while block := list(islice(texts, BLOCK)):
                sink.write(block, self.quantize(self._vectors(block)))
                bar.advance(len(block))
        return bar.done

    def to_shards(self, texts: Iterator[str], shards: Shards, rows: int) -> int:
        """Encode texts into shards of `rows`, after those that are there already; returns how many there are in all."""
        for _ in islice(texts, shards.rows):
            pass
        with console.progress("encode", None, "texts") as bar:
            bar.advance(shards.rows)
            while block := list(islice(texts, rows)):
                shards.write(block, self.quantize(self._vectors(block)))
                bar.advance(len(block))
        shards.complete()
        return shards.rows

    def _vectors(self, block: list[str]) -> NDArray[np.float32]:
        return self.embedder.encode(block, prompt=self.prompt, dim=self.dim, batch_tokens=self.batch_tokens)

"""Encoding an input of any length in bounded memory: a block of texts at a time, to a file or to shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.distributed.ranks import from_main, gather_values, is_main, owns
from embedctl.errors import DataError, ModelError
from embedctl.model.embedder import Embedder
from embedctl.storage.quantization import Quantizer, ranges_beside
from embedctl.storage.shards import Shards
from embedctl.storage.writers import write_array, writing

BLOCK = 16_384


@dataclass
class Tally:
    """How many texts there were, how many of them hold nothing but spaces, and how many were encoded before."""

    rows: int = 0
    empty: int = 0
    kept: int = 0

    def add(self, block: list[str], *, kept: bool = False) -> None:
        """Count a block of texts; `kept`: their vectors were there already."""
        self.rows += len(block)
        self.empty += sum(not text.strip() for text in block)
        self.kept += len(block) if kept else 0


@dataclass(frozen=True)
class Encoder:
    """A model with the way it is asked."""

    embedder: Embedder  # the model
    prompt: str  # put before each text
    dim: int | None  # leading dimensions kept, or None for all
    batch_tokens: int | None  # tokens in one pass, or None for the device's default
    quantize: Quantizer  # into the stored type

    def to_file(self, texts: Iterator[str], path: Path, total: int | None = None) -> Tally:
        """Encode texts into one file, and the ranges of int8 into PATH.ranges.npy beside it.

        Args:
            texts: any number of them; a block is held at a time.
            path: its suffix chooses the format; replaced once the new file is whole.
            total: how many there are, for the bar, if that is known.

        Raises:
            DataError: there is no text.
            ModelError: a vector is not finite.
        """
        tally = Tally()
        with writing(path) as writer, console.progress("encode", total, "texts") as bar:
            for block in _blocks(texts, BLOCK):
                writer.write(block, self._stored(block, tally.rows, bar))
                tally.add(block)
            _expect_texts(tally)
        if self.quantize.ranges is not None:
            write_array(ranges_beside(path), self.quantize.ranges)
        return tally

    def to_shards(self, texts: Iterator[str], shards: Shards, rows: int, total: int | None = None) -> Tally:
        """Encode texts into shards of `rows`, those left out that are there already.

        Args:
            texts: any number of them; the texts of a shard are held at a time. With several ranks each goes through
                all of them, and encodes the shards that are its own.
            shards: the folder.
            rows: of a shard.
            total: how many texts there are, for the bar, if that is known.

        Raises:
            ConfigError: the shards that are there were made of other texts.
            DataError: there is no text.
            ModelError: a vector is not finite.
        """
        tally = Tally()
        self.quantize.ranges = shards.ranges
        learning = self.quantize.learns and shards.ranges is None
        with console.progress("encode", total, "texts") as bar:
            for place, block in enumerate(_blocks(texts, rows)):
                kept = owns(place) and shards.holds(place, block)
                if kept or not owns(place):
                    bar.advance(len(block))
                else:
                    vectors = self._stored(block, tally.rows, bar)
                    shards.write(place, block, vectors, self.quantize.ranges)
                tally.add(block, kept=kept)
                if place == 0 and learning:
                    self.quantize.ranges = from_main(self.quantize.ranges)
        _expect_texts(tally)
        tally.kept = sum(gather_values(tally.kept))
        if is_main():
            shards.complete(math.ceil(tally.rows / rows))
        return tally

    def _stored(self, block: list[str], first_row: int, bar: console.Bar) -> NDArray[np.generic]:
        """The vectors (N, H) of the texts from `first_row` on, in the stored type."""
        vectors = self.embedder.encode(
            block, prompt=self.prompt, dim=self.dim, batch_tokens=self.batch_tokens, show_progress=bar
        )
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            raise ModelError(
                f"the vector of text {first_row + int(broken[0]) + 1} is not finite",
                "--precision float32, or another model: this one's weights are damaged",
            )
        return self.quantize(vectors)


def _blocks(texts: Iterator[str], rows: int) -> Iterator[list[str]]:
    while block := list(islice(texts, rows)):
        yield block


def _expect_texts(tally: Tally) -> None:
    if not tally.rows:
        raise DataError("the input holds no text", "check --input")

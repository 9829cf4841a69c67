"""Encode a stream of texts block by block, so that memory stays bounded, and write the vectors to a file or shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl import console
from embedctl.distributed.ranks import broadcast, gather_values, is_main, owns
from embedctl.errors import DataError, ModelError
from embedctl.model.embedder import Embedder
from embedctl.outputs import recorder
from embedctl.storage.names import EMBEDDINGS, ranges_of, ranges_path
from embedctl.storage.quantization import Quantizer
from embedctl.storage.shards import ShardFolder
from embedctl.storage.writers import open_writer, write_array
from embedctl.tokens.prompts import PromptKind

BLOCK_TEXTS = 16_384  # texts that are in memory at the same time while one file is written


@dataclass
class TextCounts:
    """Numbers of texts that an encode job has read."""

    rows: int = 0  # all texts
    empty: int = 0  # texts without any character other than whitespace
    reused: int = 0  # texts whose vectors an earlier run wrote

    def add(self, block: list[str], *, reused: bool = False) -> None:
        """Add a block of texts."""
        self.rows += len(block)
        self.empty += sum(not text.strip() for text in block)
        self.reused += len(block) if reused else 0


@dataclass(frozen=True)
class Encoder:
    """An embedding model and the settings for encoding with it."""

    embedder: Embedder  # the model
    prompt: str  # prepended to each text
    dim: int | None  # number of leading dimensions to keep; None keeps all
    batch_tokens: int | None  # maximum tokens per forward pass; None selects the default of the device
    quantize: Quantizer  # converts the vectors to the stored type
    kind: PromptKind | None = None  # what the texts are, for models that encode queries and passages differently

    def to_file(self, texts: Iterator[str], path: Path, total: int | None = None) -> TextCounts:
        """Encode texts into one file; for int8, also write the value ranges to PATH.ranges.npy.

        Only one block of texts is in memory at the same time. `total` is their number, if known, for the progress bar.

        Raises:
            ConfigError: no format has the suffix of `path`, or there are too few texts for the value ranges of int8.
            DataError: the input contains no text.
            ModelError: a vector contains NaN or infinity.
            OutputError: a file cannot be written.
        """
        counts = TextCounts()
        with (
            open_writer(path, complete=recorder(path, EMBEDDINGS)) as writer,
            console.progress("encode", total, "texts") as bar,
        ):
            for block in _split_blocks(texts, BLOCK_TEXTS):
                writer.write(block, self._encode_block(block, counts.rows, bar))
                counts.add(block)
            _check_not_empty(counts)
            if self.quantize.ranges is not None:
                ranges = ranges_path(path)
                write_array(ranges, self.quantize.ranges, complete=recorder(ranges, ranges_of(path)))
        return counts

    def to_shards(
        self, texts: Iterator[str], shards: ShardFolder, shard_rows: int, total: int | None = None
    ) -> TextCounts:
        """Encode texts into shards, except for the shards that an earlier run completed.

        Only the texts of one shard are in memory at the same time. With several processes, every process reads all
        texts and encodes the shards that are assigned to it. `total` is the number of texts, for the progress bar.

        Raises:
            ConfigError: an existing shard was made from other texts, the folder has more shards than the input needs,
                or there are too few texts for the value ranges of int8.
            DataError: the input contains no text.
            ModelError: a vector contains NaN or infinity.
            OutputError: a shard cannot be written, or another program removed it.
        """
        counts = TextCounts()
        self.quantize.ranges = shards.ranges
        first_shard_sets_ranges = self.quantize.dtype == "int8" and shards.ranges is None
        with console.progress("encode", total, "texts") as bar:
            for index, block in enumerate(_split_blocks(texts, shard_rows)):
                reused = owns(index) and shards.is_complete(index, block)
                if owns(index) and not reused:
                    vectors = self._encode_block(block, counts.rows, bar)
                    shards.write(index, block, vectors, self.quantize.ranges)
                else:
                    bar.advance(len(block))
                counts.add(block, reused=reused)
                if index == 0 and first_shard_sets_ranges:
                    self.quantize.ranges = broadcast(self.quantize.ranges)
        _check_not_empty(counts)
        counts.reused = sum(gather_values(counts.reused))
        if is_main():
            shards.finish(math.ceil(counts.rows / shard_rows))
        return counts

    def _encode_block(self, block: list[str], first_row: int, bar: console.Bar) -> NDArray[np.generic]:
        """Return the vectors (N, H) of the block in the stored type; `first_row` is the row of its first text.

        Raises:
            ConfigError: the type is int8 and there are too few texts for its value ranges.
            ModelError: a vector contains NaN or infinity.
        """
        vectors = self.embedder.encode(
            block, prompt=self.prompt, kind=self.kind, dim=self.dim, batch_tokens=self.batch_tokens, show_progress=bar
        )
        not_finite = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(not_finite):
            number = first_row + int(not_finite[0]) + 1
            is_float32 = self.embedder.dtype == torch.float32
            hint = "download the model again, or use another model" if is_float32 else "use --precision float32"
            raise ModelError(f"the embedding of text {number:,} (counted from 1) contains NaN or infinity", hint)
        return self.quantize(vectors)


def _split_blocks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while block := list(islice(texts, size)):
        yield block


def _check_not_empty(counts: TextCounts) -> None:
    if not counts.rows:
        raise DataError("the input contains no text", "give an input with at least one text")

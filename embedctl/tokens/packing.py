"""From ragged token lists to what a model takes: packed without padding, or padded within length-sorted chunks.

Everything here is numpy until `features` makes the tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl.tokens.spans import Integers, Spans

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ragged:
    """Texts as tokens: `ids` (T,) text after text, `lengths` (N,)."""

    ids: NDArray[np.integer[Any]]
    lengths: Integers

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def spans(self) -> Spans:
        """Where each text is in `ids`."""
        return Spans.adjoining(self.lengths)

    def take(self, rows: Integers) -> Ragged:
        """The texts `rows`, in that order."""
        chosen = self.spans[rows]
        return Ragged(chosen.take(self.ids), chosen.lengths)


def longest_first(lengths: Integers) -> Integers:
    """The order in which texts of like length stand together; equal lengths keep their order."""
    return np.argsort(-lengths, kind="stable")


def cut(lengths: Integers, budget: int, *, padded: bool) -> list[slice]:
    """Consecutive chunks of texts that each cost at most `budget` tokens, or hold a single text.

    Where `padded`, a text costs as much as its chunk's longest, and the lengths (N,) have to stand longest first.
    """
    chunks: list[slice] = []
    start, cost, widest = 0, 0, 0
    for place, length in enumerate(lengths.tolist()):
        widest = max(widest, length)
        cost = widest * (place - start + 1) if padded else cost + length
        if cost > budget and place > start:
            chunks.append(slice(start, place))
            start, cost, widest = place, length, length
    if len(lengths):
        chunks.append(slice(start, len(lengths)))
    return chunks


def packed_features(texts: Ragged, position_offset: int = 0, device: torch.device = CPU) -> dict[str, Any]:
    """One row of T tokens with the borders of its texts, on `device`: only tokens and lengths travel there.

    `position_offset` is the position id of a first token: padding_idx + 1 in RoBERTa's family, else 0.

    Returns:
        input_ids and position_ids (1, T), cu_seq_lens_q/k (N + 1,) int32, max_length_q/k, seq_idx (1, T).
    """
    longest, tokens = int(texts.lengths.max()), int(texts.lengths.sum())
    ids, lengths = on_device(texts.ids, device), on_device(texts.lengths, device)
    ends = lengths.cumsum(0)
    text = torch.arange(len(texts), device=device).repeat_interleave(lengths, output_size=tokens)
    positions = torch.arange(tokens, device=device) - (ends - lengths)[text]
    borders = torch.nn.functional.pad(ends, (1, 0)).int()
    return {
        "input_ids": ids.long()[None],
        "position_ids": (positions + position_offset)[None],
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": longest,
        "max_length_k": longest,
        "seq_idx": text.int()[None],
    }


def padded_features(texts: Ragged, pad_id: int) -> dict[str, Any]:
    """A rectangle: input_ids and attention_mask (N, longest), padded on the right."""
    mask = np.arange(int(texts.lengths.max()))[None] < texts.lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = texts.ids
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def on_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array as a tensor on `device`, copied without waiting for what the device is doing."""
    return _moved(torch.from_numpy(array), device)


def to_device(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The features with their tensors on `device`."""
    return {name: _moved(value, device) if torch.is_tensor(value) else value for name, value in features.items()}


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    pinned = device.type == "cuda"
    return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=pinned)

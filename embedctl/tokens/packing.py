"""Conversion of token arrays to model inputs, packed or padded, and splitting of texts by a token budget.

Token ids and lengths are numpy arrays; only `packed_features` and `padded_features` create tensors.
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
    """N tokenized texts: the token ids (T,) of all texts, concatenated, and the number of tokens (N,) of each text."""

    ids: NDArray[np.integer[Any]]
    lengths: Integers

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def spans(self) -> Spans:
        """The range of each text in `ids`."""
        return Spans.from_lengths(self.lengths)

    def take(self, indices: Integers) -> Ragged:
        """Return the texts at these indices, in that order."""
        spans = self.spans[indices]
        return Ragged(spans.take(self.ids), spans.lengths)


def longest_first(lengths: Integers) -> Integers:
    """Return the indices that sort texts by decreasing length; the sort is stable."""
    return np.argsort(-lengths, kind="stable")


def split_by_budget(lengths: Integers, budget: int, *, padded: bool) -> list[slice]:
    """Split texts into consecutive chunks of at most `budget` tokens; a longer text is a chunk of its own.

    If `padded`, each text counts with the length of the longest text of its chunk. Texts sorted with `longest_first`
    have the least padding.
    """
    chunks: list[slice] = []
    start, cost, longest = 0, 0, 0
    for index, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        cost = longest * (index - start + 1) if padded else cost + length
        if cost > budget and index > start:
            chunks.append(slice(start, index))
            start, cost, longest = index, length, length
    if len(lengths):
        chunks.append(slice(start, len(lengths)))
    return chunks


def packed_features(texts: Ragged, position_offset: int = 0, device: torch.device = CPU) -> dict[str, Any]:
    """Return the model inputs of N texts packed into one sequence of T tokens.

    They are input_ids and position_ids (1, T), cu_seq_lens_q/k (N + 1,) int32, and max_length_q/k. Only token ids and
    lengths are copied to the device; the other tensors are computed there. `position_offset` is the position id of the
    first token of a text: padding_idx + 1 for RoBERTa models, else 0. RoBERTa models do not count padding tokens inside
    a text, whose position is padding_idx (`create_position_ids_from_input_ids` of transformers).
    """
    longest, tokens = int(texts.lengths.max()), int(texts.lengths.sum())
    ids, lengths = array_to_device(texts.ids, device), array_to_device(texts.lengths, device)
    cu_seq_lens = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    is_counted = (ids != position_offset - 1).long()  # without an offset, no id is -1
    counts = is_counted.cumsum(0)
    counts_before_text = torch.nn.functional.pad(counts, (1, 0))[cu_seq_lens[:-1]]
    in_text = counts - counts_before_text.repeat_interleave(lengths, output_size=tokens)  # from 1
    cu_seq_lens = cu_seq_lens.int()
    return {
        "input_ids": ids.long()[None],
        "position_ids": (in_text * is_counted + position_offset - 1)[None],
        "cu_seq_lens_q": cu_seq_lens,
        "cu_seq_lens_k": cu_seq_lens,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def padded_features(texts: Ragged, pad_id: int) -> dict[str, Any]:
    """Return the model inputs of texts padded on the right: input_ids and attention_mask (N, longest text)."""
    mask = np.arange(int(texts.lengths.max()))[None] < texts.lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = texts.ids
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def array_to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on `device`; the copy to a GPU is asynchronous."""
    return _copy(torch.from_numpy(array), device)


def features_to_device(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return model inputs with all tensors on `device`; the copy to a GPU is asynchronous."""
    return {name: _copy(value, device) if torch.is_tensor(value) else value for name, value in features.items()}


def _copy(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    to_gpu = device.type == "cuda"
    return (tensor.pin_memory() if to_gpu else tensor).to(device, non_blocking=to_gpu)

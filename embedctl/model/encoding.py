"""Encoding of many texts in blocks: tokenization, forward passes and device-to-host copies overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl import console
from embedctl.model.token_embedder import TokenEmbedder
from embedctl.tokens.packing import longest_first, split_by_budget
from embedctl.tokens.pipeline import HostCopy, delay_by_one, prefetch_map
from embedctl.tokens.spans import Integers
from embedctl.tokens.tokenize import tokenize

DEFAULT_TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}  # tokens per forward pass
FIRST_BLOCK_ENDS = (128, 384)  # the first two blocks are small, so that the first forward pass starts early
BLOCK_SIZE = 1024  # texts


def encode_texts(
    embedder: TokenEmbedder,
    texts: Sequence[str],
    prefix: str,
    extra_features: dict[str, int],
    dim: int | None,
    batch_tokens: int | None,
    bar: console.Bar | None,
) -> NDArray[np.float32]:
    """Return the vectors (N, H) of N texts, in the order of the texts; the longest texts are encoded first.

    The prompt `prefix` is prepended to each text, and `extra_features` are further inputs of each forward pass. With
    `dim`, only the leading dimensions are kept.
    """
    budget = batch_tokens or DEFAULT_TOKEN_BUDGET.get(embedder.device.type, 16384)
    output = np.zeros((len(texts), embedder.encoded_dimension(dim)), dtype=np.float32)
    order = np.argsort([-len(text) for text in texts], kind="stable")
    ends = [end for end in (*FIRST_BLOCK_ENDS, *range(BLOCK_SIZE, len(texts), BLOCK_SIZE)) if end < len(texts)]
    blocks = np.split(order, ends) if len(texts) else []

    def _prepare(block: Integers) -> tuple[Integers, list[dict[str, Any]]]:
        """Return the indices of a block's texts, longest text first, and the inputs of each forward pass."""
        tokens = tokenize(embedder.tokenizer, [prefix + texts[index] for index in block], embedder.max_len)
        order = longest_first(tokens.lengths)
        tokens = tokens.take(order)
        chunks = split_by_budget(tokens.lengths, budget, padded=not embedder.packed)
        return block[order], [embedder.features(tokens.take(np.arange(chunk.start, chunk.stop))) for chunk in chunks]

    prepared = prefetch_map(_prepare, blocks, depth=2)
    copies = ((block, _encode_block(embedder, inputs, extra_features, dim)) for block, inputs in prepared)
    for block, copy in delay_by_one(copies):
        output[block] = copy.wait()
        if bar:
            bar.advance(len(block))
    return output


@torch.inference_mode()
def _encode_block(
    embedder: TokenEmbedder, inputs: list[dict[str, Any]], extra_features: dict[str, int], dim: int | None
) -> HostCopy:
    """Start the forward passes of a block and the copy of its vectors to the CPU, without waiting for the device."""
    vectors = torch.cat([embedder(features | extra_features) for features in inputs]).float()
    return HostCopy(vectors[:, :dim])

"""Vectors of any number of texts: tokenised a block ahead on a thread, run in passes, fetched a block behind."""

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

DEFAULT_TOKENS = {"cpu": 4096, "cuda": 65536}
FIRST_BLOCKS = (128, 384)  # short ones, so that the model begins at once
BLOCK = 1024  # texts tokenised at a time, while the model runs those before; the longest come first


def encode_texts(
    embedder: TokenEmbedder,
    texts: Sequence[str],
    prefix: str,
    extra: dict[str, int],
    dim: int | None,
    batch_tokens: int | None,
    bar: console.Bar | None,
) -> NDArray[np.float32]:
    """The vectors of texts, in their order; the longest texts are run first.

    Args:
        embedder: the model.
        texts: N texts.
        prefix: put before each.
        extra: what the model takes beside a pass's features.
        dim: keep the leading dimensions and normalise again.
        batch_tokens: tokens in one pass; the device's default if None.
        bar: moves with every block that is done.

    Returns:
        (N, H) float32.
    """
    budget = batch_tokens or DEFAULT_TOKENS.get(embedder.device.type, 16384)
    output = np.zeros((len(texts), dim or embedder.dimension), dtype=np.float32)
    order = np.argsort([-len(text) for text in texts], kind="stable")
    borders = [border for border in (*FIRST_BLOCKS, *range(BLOCK, len(texts), BLOCK)) if border < len(texts)]
    blocks = np.split(order, borders) if len(texts) else []

    def _prepare(rows: Integers) -> tuple[Integers, list[dict[str, Any]]]:
        """Rows in the order of their passes through the model, and the features of each pass, on its device."""
        tokens = tokenize(embedder.tokenizer, [prefix + texts[row] for row in rows], embedder.max_len)
        order = longest_first(tokens.lengths)
        tokens = tokens.take(order)
        passes = split_by_budget(tokens.lengths, budget, padded=not embedder.packed)
        return rows[order], [embedder.features(tokens.take(np.arange(one.start, one.stop))) for one in passes]

    prepared = prefetch_map(_prepare, blocks, depth=2)
    launched = ((rows, _launch(embedder, passes, extra, dim)) for rows, passes in prepared)
    for rows, vectors in delay_by_one(launched):
        output[rows] = vectors.wait()
        if bar:
            bar.advance(len(rows))
    return output


@torch.inference_mode()
def _launch(embedder: TokenEmbedder, passes: list[dict[str, Any]], extra: dict[str, int], dim: int | None) -> HostCopy:
    """Start the passes of a block and the way of its vectors to the CPU, without waiting for a GPU."""
    vectors = torch.cat([embedder(features | extra) for features in passes]).float()
    if dim is not None:
        vectors = torch.nn.functional.normalize(vectors[:, :dim], dim=-1)
    return HostCopy(vectors)

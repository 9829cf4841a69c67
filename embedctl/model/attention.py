"""Attention over packed texts, registered with transformers under one name.

A packed batch is one row of T tokens, text after text, with the borders in `cu_seq_lens_q`. On a GPU in half precision
PyTorch's varlen kernel reads the borders; elsewhere each text goes through scaled dot product attention by itself,
which is slow and exact: it is what tests compare with. Any model that reaches its attention through transformers'
attention interface can be packed. No attention dropout in the kernel, as the kernel has none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PACKED = "embedctl_packed"


def register() -> None:
    """Make `PACKED` known to transformers; a second call changes nothing.

    It has no mask function: the borders stand in for a mask, and transformers, which looks for borders of its own where
    there is one, would make the GPU wait for the answer.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


def packed_attention(  # noqa: PLR0913  transformers calls it so
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within each packed text.

    Args:
        module: the attention layer; its `is_causal` counts where the argument is None.
        query: (1, heads, T, head size).
        key: (1, key heads, T, head size), as is `value`; fewer heads than the query's are shared (GQA).
        value: see `key`.
        cu_seq_lens_q: (texts + 1,) int32, the borders.
        max_length_q: tokens of the longest text.
        dropout: used off the kernel only.
        scaling: of the scores; 1/sqrt(head size) by default.
        sliding_window: tokens seen on a causal model's left, itself included; half-width + 1 on a bidirectional one's.
        is_causal: whether a token sees only those before it.

    Returns:
        (1, T, heads, head size), and None for the weights.

    Raises:
        ValueError: the layer asks for what neither form can do (soft-capped scores, attention sinks).
    """
    if _kwargs.get("softcap") is not None or _kwargs.get("s_aux") is not None:
        raise ValueError("soft-capped attention can't be packed")
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    window = _window(causal, sliding_window)
    query_TAE, key_TAE, value_TAE = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        shared = query.shape[1] // key.shape[1]
        if shared > 1:  # the kernel shares heads by itself only from torch 2.12 on
            key_TAE, value_TAE = (states.repeat_interleave(shared, dim=1) for states in (key_TAE, value_TAE))
        return _all_texts((query_TAE, key_TAE, value_TAE), cu_seq_lens_q, max_length_q, window, scaling)[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    texts = zip(*(torch.split(states, lengths) for states in (query_TAE, key_TAE, value_TAE)), strict=True)
    return torch.cat([_one_text(text, window, dropout, scaling) for text in texts])[None], None


def _window(causal: bool, sliding_window: int | None) -> tuple[int, int]:
    """Tokens seen to the left and to the right, -1 for all: transformers count a token itself, the kernel does not."""
    reach = -1 if sliding_window is None else sliding_window - 1
    return reach, 0 if causal else reach


def _all_texts(
    states: tuple[Tensor, ...], borders: Tensor, longest: int, window: tuple[int, int], scaling: float | None
) -> Tensor:
    """PyTorch's kernel on the query, key and value of all texts, each (T, heads, head size)."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = states
    both = borders, borders, longest, longest  # the query's and the key's
    output = varlen_attn(query, key, value, *both, scale=scaling, window_size=window)
    assert isinstance(output, Tensor)  # a tuple only where auxiliary values are asked for
    return output


def _one_text(text: tuple[Tensor, ...], window: tuple[int, int], dropout: float, scaling: float | None) -> Tensor:
    """Attention of one text's query, key and value, each (tokens, heads, head size)."""
    tokens, device = len(text[0]), text[0].device
    distance = torch.arange(tokens, device=device)[:, None] - torch.arange(tokens, device=device)
    left, right = (tokens if reach < 0 else reach for reach in window)
    query, key, value = (states.transpose(0, 1).unsqueeze(0) for states in text)
    seen = (distance <= left) & (-distance <= right)
    shared_heads = key.shape[1] != query.shape[1]
    output = scaled_dot_product_attention(
        query, key, value, attn_mask=seen, dropout_p=dropout, scale=scaling, enable_gqa=shared_heads
    )
    return output.squeeze(0).transpose(0, 1)

"""Attention over packed texts, registered in transformers' attention interface.

A packed batch is one sequence of T tokens, and `cu_seq_lens_q` contains the index of the first token of each text. On a
GPU in half precision, PyTorch's varlen kernel is used, which does not support attention dropout. Otherwise scaled dot
product attention is called for each text separately, which is slow and exact; tests use it as the reference. Any model
that calls its attention through transformers' attention interface can be packed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PACKED = "embedctl_packed"  # the name of `packed_attention` in transformers


def packed_attention(  # noqa: PLR0913  the signature is defined by transformers
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
    """Compute attention within each packed text.

    Args:
        module: the attention layer; its attribute `is_causal` is used if the argument is None.
        query: (1, A, T, E), A attention heads of E dimensions.
        key: (1, key heads, T, E); fewer key heads than A mean grouped-query attention (GQA).
        value: the same shape as `key`.
        cu_seq_lens_q: (texts + 1,) int32, the cumulative lengths of the texts, from 0 to T.
        max_length_q: number of tokens of the longest text.
        dropout: ignored by the varlen kernel.
        scaling: factor of the scores; 1/sqrt(E) by default.
        sliding_window: W; a token attends to itself and W - 1 tokens before it, and W - 1 after it unless causal.
        is_causal: whether a token attends only to itself and the tokens before it.

    Returns:
        (1, T, A, E), and None in place of the attention weights.

    Raises:
        ValueError: the layer requires soft-capped scores or attention sinks, which are not supported.
    """
    if _kwargs.get("softcap") is not None or _kwargs.get("s_aux") is not None:
        message = 'packed attention does not support soft-capped scores or attention sinks; use attention="padded"'
        raise ValueError(message)
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    # Numbers of tokens before and after a token that it attends to, -1 for all. `sliding_window` includes the token.
    size = -1 if sliding_window is None else sliding_window - 1
    window = size, 0 if causal else size
    query_TAE, key_TAE, value_TAE = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        lengths = cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q  # of queries and keys
        return _kernel_attention(query_TAE, key_TAE, value_TAE, lengths, window, scaling)[None], None
    sizes = cu_seq_lens_q.diff().tolist()
    texts = zip(*(torch.split(states, sizes) for states in (query_TAE, key_TAE, value_TAE)), strict=True)
    return torch.cat([_text_attention(text, window, dropout, scaling) for text in texts])[None], None


def _kernel_attention(
    query_TAE: Tensor, key_TAE: Tensor, value_TAE: Tensor, lengths: Any, window: tuple[int, int], scaling: float | None
) -> Tensor:
    """Compute the attention of all texts with PyTorch's kernel, on a GPU in half precision."""
    from torch.nn.attention.varlen import varlen_attn

    group_size = query_TAE.shape[1] // key_TAE.shape[1]
    if group_size > 1:  # the kernel supports GQA only from torch 2.12 on
        key_TAE, value_TAE = (states.repeat_interleave(group_size, dim=1) for states in (key_TAE, value_TAE))
    output: Any = varlen_attn(query_TAE, key_TAE, value_TAE, *lengths, scale=scaling, window_size=window)
    assert isinstance(output, Tensor)  # it is a tuple only if auxiliary outputs are requested
    return output


def _text_attention(text: tuple[Tensor, ...], window: tuple[int, int], dropout: float, scaling: float | None) -> Tensor:
    """Compute the attention of one text from its query, key and value, each (tokens, heads, E)."""
    query, key, value = (states.transpose(0, 1).unsqueeze(0) for states in text)
    position = torch.arange(len(text[0]), device=query.device)
    distance = position[:, None] - position
    before, after = (len(position) if size < 0 else size for size in window)
    mask = (distance <= before) & (-distance <= after)
    gqa = key.shape[1] != query.shape[1]
    output = scaled_dot_product_attention(query, key, value, mask, dropout, scale=scaling, enable_gqa=gqa)
    return output.squeeze(0).transpose(0, 1)

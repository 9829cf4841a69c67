"""Tokens to vectors: sentence-transformers' own modules (transformer, pooling, dense, normalise), packed or padded.

What is saved is what was run. What is ours is how tokens reach the modules: packed where the model and the machine can,
else padded in length-sorted chunks.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from embedctl.model import attention, fused
from embedctl.model.pooling import can_pool, pool_packed
from embedctl.tokens.packing import Ragged, packed_features, padded_features, to_device

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BACKBONE_KEYS = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "max_length_q",
    "max_length_k",
)


class TokenEmbedder(torch.nn.Module):
    """A sentence-transformers model that takes ragged tokens.

    Args:
        model: the sentence-transformers modules, the first a transformer.
        packed: whether batches are packed; see `set_packed`.
    """

    def __init__(self, model: SentenceTransformer, *, packed: bool = False) -> None:
        super().__init__()
        self.model = model
        self._own_attention = self.backbone.config._attn_implementation
        self.set_packed(packed)

    @property
    def backbone(self) -> Any:
        """The transformers model inside."""
        return self.model[0].auto_model

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self.model.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        size = self.model.get_embedding_dimension()
        return int(size or self.backbone.config.hidden_size)

    @property
    def max_len(self) -> int:
        """Tokens of a text, special ones counted; longer texts are cut."""
        limits = (self.model.max_seq_length, self.position_limit, self.tokenizer.model_max_length)
        return int(min(limit for limit in limits if limit))

    @property
    def position_limit(self) -> int:
        """Tokens for which the model has positions."""
        limit = getattr(self.backbone.config, "max_position_embeddings", None)
        return int(limit) - self.position_offset if limit else sys.maxsize

    @property
    def position_offset(self) -> int:
        """The position id of a text's first token: learned tables of RoBERTa's family begin after the padding's."""
        for module in self.backbone.modules():
            table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
            if isinstance(table, torch.nn.Embedding) and isinstance(padding, int):
                return padding + 1
        return 0

    @property
    def _no_split_modules(self) -> list[str]:
        """The layer classes that FSDP shards one by one; accelerate reads this name."""
        return sorted(
            {name for part in self.model.modules() for name in getattr(part, "_no_split_modules", None) or ()}
        )

    def set_packed(self, packed: bool) -> None:
        """Run the next batches packed, and through fused kernels where there are any, or padded, as the model came."""
        self.packed = packed
        fused.unfuse(self.backbone)
        if packed:
            attention.register()
            self.backbone.set_attn_implementation(attention.PACKED)
            if self.device.type == "cuda" and fused.available():
                fused.fuse(self.backbone)
        elif self.backbone.config._attn_implementation == attention.PACKED:
            self.backbone.set_attn_implementation(self._own_attention)

    def features(self, texts: Ragged) -> dict[str, Any]:
        """What `forward` takes for these texts, on this model's device."""
        if self.packed:
            return packed_features(texts, self.position_offset, self.device)
        return to_device(padded_features(texts, self.tokenizer.pad_token_id or 0), self.device)

    def forward(self, features: dict[str, Any]) -> Tensor:
        """Vectors (N, H) of the texts in `features`, at least float32, normalised if the model's own modules do so."""
        hidden = self.backbone(**{name: features[name] for name in BACKBONE_KEYS if name in features}).last_hidden_state
        state = {name: value for name, value in features.items() if name != "input_ids"} | {"token_embeddings": hidden}
        _transformer, *modules = self.model.children()
        for module in modules:
            if self.packed and can_pool(module, features):
                state["sentence_embedding"] = pool_packed(module, hidden.squeeze(0), features["cu_seq_lens_q"])
                continue
            weight = next(module.parameters(), None)
            if weight is not None and "sentence_embedding" in state:  # pooling gives float32, whatever a dense layer is
                state["sentence_embedding"] = state["sentence_embedding"].to(weight.dtype)
            state = module(state)
        vectors: Tensor = state["sentence_embedding"]
        return vectors.to(torch.promote_types(vectors.dtype, torch.float32))

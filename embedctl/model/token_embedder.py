"""Forward pass of a sentence-transformers model on tokenized texts, packed or padded.

The modules (transformer, pooling, dense, normalize) are those of sentence-transformers and are saved unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from embedctl import console
from embedctl.model import attention, fused
from embedctl.model.lengths import UNLIMITED, first_position, positions_of
from embedctl.model.own_forward import own_features, own_forward
from embedctl.model.pooling import can_pool, pool_packed
from embedctl.model.vocabulary import check_tokens
from embedctl.tokens.packing import Ragged, features_to_device, packed_features, padded_features
from embedctl.tokens.raw_text import RawTextTokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

OTHER_FEATURES = {"prompt_length", "seq_idx"}  # not inputs of the transformer


class TokenEmbedder(torch.nn.Module):
    """A sentence-transformers model with tokenized texts as input."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model
        self.packed = False
        self.uses_own_forward = not self.backbone_settings  # of sentence-transformers, see own_forward.py
        self.own_forward_limit = UNLIMITED  # tokens per text with that forward pass, if the model's own limit is longer
        if not self.uses_own_forward:
            self._original_attention = self.backbone.config._attn_implementation

    @property
    def backbone(self) -> Any:
        """The transformers model, without pooling."""
        return self.model[0].auto_model

    @property
    def backbone_settings(self) -> dict[str, Any]:
        """The configuration of the transformers model; empty if the first module is not a transformer."""
        config = getattr(getattr(self.model[0], "auto_model", None), "config", None)
        return config.to_dict() if config is not None else {}

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer; a `RawTextTokenizer` if sentence-transformers tokenizes."""
        return RawTextTokenizer() if self.uses_own_forward else self.model.tokenizer

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    @property
    def dimension(self) -> int:
        """The number of dimensions of a vector; `truncate_dim` of the model does not change it."""
        with self.model.truncate_embeddings(None):
            return int(self.model.get_embedding_dimension() or self.backbone.config.hidden_size)

    def encoded_dimension(self, dim: int | None) -> int:
        """Return the number of dimensions of encoded texts: `dim`, else the model's `truncate_dim`, else all."""
        return min(int(dim or self.model.truncate_dim or self.dimension), self.dimension)

    @property
    def max_len(self) -> int:
        """The largest number of tokens per text, with special tokens; longer texts are truncated.

        If sentence-transformers tokenizes, it truncates the texts itself, to the model's own limit by default.
        """
        if self.uses_own_forward:
            return self.own_forward_limit
        limits = (self.model.max_seq_length, self.position_limit, self.tokenizer.model_max_length)
        return int(min(limit for limit in limits if limit and limit > 0))

    @property
    def truncates_texts(self) -> bool:
        """Whether the first module has a maximum number of tokens; StaticEmbedding has none."""
        return isinstance(getattr(self.model[0], "max_seq_length", None), int)

    @property
    def truncation_length(self) -> int | None:
        """The number of tokens at which texts are truncated; None if the model has no such number."""
        if not self.truncates_texts:
            return None
        return self.model.max_seq_length if self.max_len == UNLIMITED else self.max_len

    @property
    def position_limit(self) -> int:
        """The number of tokens for which the model has positions; `UNLIMITED` if it states no limit."""
        return positions_of(self.model)

    @property
    def position_offset(self) -> int:
        """The position id of the first token of a text: padding_idx + 1 for RoBERTa models, else 0."""
        return first_position(self.backbone)

    @property
    def _no_split_modules(self) -> list[str]:
        """The names of the layer classes that FSDP wraps; accelerate reads this attribute."""
        names = (getattr(part, "_no_split_modules", None) or () for part in self.model.modules())
        return sorted(set[str]().union(*names))

    def set_packed(self, packed: bool) -> None:
        """Select packed texts, with fused kernels if available, or padded texts with the original attention.

        With sentence-transformers' own forward pass, texts are always padded.
        """
        if self.uses_own_forward:
            return
        self.packed = packed
        fused.unfuse(self.backbone)
        if packed:
            # Without a mask function: with one, transformers would detect packed texts itself, which needs a
            # device-to-host synchronization.
            AttentionInterface.register(attention.PACKED, attention.packed_attention)
            self.backbone.set_attn_implementation(attention.PACKED)
            if self.device.type == "cuda" and fused.available():
                fused.fuse(self.backbone)
        elif self.backbone.config._attn_implementation == attention.PACKED:
            self.backbone.set_attn_implementation(self._original_attention)

    def use_own_forward(self, path: str, reason: str) -> None:
        """Let sentence-transformers tokenize and encode the texts, and print the reason."""
        self.set_packed(False)
        self.uses_own_forward = True
        console.info(f"{path}: {reason}. Sentence-transformers' own code encodes the texts, which is slower.")

    def features(self, texts: Ragged) -> dict[str, Any]:
        """Return the input of `forward` for these texts, on the model's device.

        Raises:
            ModelError: a token has no row in the embedding matrix.
        """
        if self.uses_own_forward:
            return own_features(self.model, texts, self.device)
        pad = 0 if self.packed else self.tokenizer.pad_token_id or 0
        check_tokens(self.model[0], max(pad, int(texts.ids.max(initial=0))))
        if self.packed:
            return packed_features(texts, self.position_offset, self.device)
        return features_to_device(padded_features(texts, pad), self.device)

    def forward(self, features: dict[str, Any]) -> Tensor:
        """Return the vectors (N, H) of the texts in `features`, in float32 or float64.

        They are normalized only if the model has a Normalize module.
        """
        vectors = own_forward(self.model, features) if self.uses_own_forward else self._modules_forward(features)
        return vectors.to(torch.promote_types(vectors.dtype, torch.float32))

    def _modules_forward(self, features: dict[str, Any]) -> Tensor:
        """Return the vectors (N, H) of packed or padded texts, computed by the model's modules one after another."""
        inputs = {name: value for name, value in features.items() if name not in OTHER_FEATURES}
        hidden = self.backbone(**inputs).last_hidden_state
        state = {name: value for name, value in features.items() if name != "input_ids"} | {"token_embeddings": hidden}
        _transformer, *modules = self.model.children()
        for module in modules:
            if self.packed and can_pool(module, features):
                state["sentence_embedding"] = pool_packed(
                    module, state["token_embeddings"].squeeze(0), features["cu_seq_lens_q"]
                )
                continue
            weight = next(module.parameters(), None)
            if weight is not None and "sentence_embedding" in state:  # pooling returns float32
                state["sentence_embedding"] = state["sentence_embedding"].to(weight.dtype)
            state = module(state)
        vectors: Tensor = state["sentence_embedding"]
        return vectors

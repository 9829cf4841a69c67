"""The model core that every command shares: texts or tokens in, vectors out.

The modules are sentence-transformers' own (transformer, pooling, dense, normalise), so what is saved is what was run.
What is ours is how tokens reach them: packed where the model and the machine can, else padded in length-sorted chunks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedctl import console
from embedctl.errors import ModelError
from embedctl.model import attention as packed_attention
from embedctl.model import fused
from embedctl.model.encoding import vectors_of
from embedctl.model.loading import hash_weights, load_sentence_transformer
from embedctl.model.parity import why_not_packed
from embedctl.model.pooling import can_pool, pool_packed
from embedctl.tokens.packing import Ragged, packed_features, padded_features, to_device
from embedctl.tokens.tokenize import tokenize

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


def pick_device(device: str | None = None) -> torch.device:
    """The device named, else the GPU where there is one, else Apple's, else the CPU.

    Raises:
        ModelError: there is no such device here.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as cause:
        raise ModelError(
            f"--device {device}: not available here", "try --device cpu, or see `embedctl doctor`"
        ) from cause
    return torch.device(device)


class Embedder(torch.nn.Module):
    """A sentence-transformers model that takes ragged tokens.

    Args:
        model: the sentence-transformers modules, the first a transformer.
        packed: whether batches are packed; see `set_packed`.
    """

    def __init__(self, model: SentenceTransformer, *, packed: bool = False) -> None:
        super().__init__()
        self.model = model
        self.set_packed(packed)

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        device: str | None = None,
        dtype: str = "float32",
        trust_remote_code: bool = False,
        max_len: int | None = None,
        attention: str = "auto",
    ) -> Embedder:
        """The model of a folder or a hub name, ready to encode.

        Args:
            path: a sentence-transformers or transformers folder, or a hub name.
            device: as torch names it; the GPU where there is one by default.
            dtype: float32, bfloat16 or float16.
            trust_remote_code: whether code that comes with the model may run.
            max_len: tokens of a text; the model's own by default.
            attention: packed, padded, or auto: packed where it is exact and pays (half precision on a GPU).

        Raises:
            ModelError: the model or the device can't be used.
        """
        target = pick_device(device)
        precision: torch.dtype = getattr(torch, dtype)
        model = load_sentence_transformer(path, dtype=precision, trust_remote_code=trust_remote_code)
        if max_len is not None:
            model.max_seq_length = max_len
        embedder = cls(model.to(target)).eval()
        embedder.choose_attention(attention)
        return embedder

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
    def prompts(self) -> dict[str, str]:
        """The model's own prompts by name."""
        return {name: text for name, text in self.model.prompts.items() if text is not None}

    @property
    def _no_split_modules(self) -> list[str]:
        """The layer classes that FSDP shards one by one; accelerate reads this name."""
        return sorted(
            {name for part in self.model.modules() for name in getattr(part, "_no_split_modules", None) or ()}
        )

    def set_packed(self, packed: bool) -> None:
        """Run the next batches packed, and through fused kernels where there are any, or padded."""
        self.packed = packed
        if packed:
            packed_attention.register()
        if packed and self.device.type == "cuda" and fused.available():
            fused.fuse(self.backbone)
        else:
            fused.unfuse(self.backbone)
        wanted = packed_attention.PACKED if packed else "sdpa"
        if packed or self.backbone.config._attn_implementation == packed_attention.PACKED:
            self.backbone.set_attn_implementation(wanted)

    def choose_attention(self, attention: str, compute: torch.dtype | None = None) -> None:
        """Pack if asked for, or if it pays here; fall back to padding, with a word, where the vectors would differ.

        Args:
            attention: auto, packed or padded.
            compute: the type in which the model will run, where that is not the weights'.
        """
        compute = compute or self.dtype
        pays = self.device.type == "cuda" and compute in (torch.bfloat16, torch.float16)
        wanted = attention == "packed" or (attention == "auto" and pays)
        problem = why_not_packed(self, compute) if wanted else None
        if problem:
            console.warn(f"{problem}: batches are padded instead")
        self.set_packed(wanted and not problem)

    @property
    def position_offset(self) -> int:
        """The position id of a text's first token: learned tables of RoBERTa's family begin after the padding's."""
        for module in self.backbone.modules():
            table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
            if isinstance(table, torch.nn.Embedding) and isinstance(padding, int):
                return padding + 1
        return 0

    def features(self, texts: Ragged) -> dict[str, Any]:
        """What `forward` takes for these texts, on this model's device."""
        if self.packed:
            return packed_features(texts, self.position_offset, self.device)
        return to_device(padded_features(texts, self.tokenizer.pad_token_id or 0), self.device)

    def forward(self, features: dict[str, Any]) -> Tensor:
        """Vectors (N, H) of the texts in `features`, at least float32, normalised if the model's own modules do so."""
        hidden = self.backbone(**{name: features[name] for name in BACKBONE_KEYS if name in features}).last_hidden_state
        state = {name: value for name, value in features.items() if name != "input_ids"} | {"token_embeddings": hidden}
        for module in list(self.model.children())[1:]:
            if self.packed and can_pool(module, features):
                state["sentence_embedding"] = pool_packed(module, hidden.squeeze(0), features["cu_seq_lens_q"])
                continue
            weight = next(module.parameters(), None)
            if weight is not None and "sentence_embedding" in state:
                state["sentence_embedding"] = state["sentence_embedding"].to(weight.dtype)
            state = module(state)
        vectors: Tensor = state["sentence_embedding"]
        return vectors.to(torch.promote_types(vectors.dtype, torch.float32))

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        dim: int | None = None,
        batch_tokens: int | None = None,
        device: str | None = None,
        show_progress: bool | str | console.Bar = False,
    ) -> NDArray[np.float32]:
        """The vectors of texts, in their order: what SentenceTransformer.encode gives.

        Args:
            texts: N texts.
            prompt_name: one of the model's prompts, put before each text; the model's default one by default.
            prompt: put before each text instead.
            dim: keep the leading dimensions and normalise again.
            batch_tokens: tokens in one pass through the model.
            device: moves the model there first.
            show_progress: whether a bar shows rate and time left, the name of what it counts, or the bar that does.

        Returns:
            (N, H) float32.

        Raises:
            ModelError: the model has no such prompt, or fewer than `dim` dimensions.
        """
        if device is not None and pick_device(device) != self.device:
            self.to(pick_device(device))
        prefix = self.prompt_text(prompt_name, prompt)
        self._expect_dim(dim)
        with console.progress_if(show_progress, "encode", len(texts), "texts") as bar:
            return vectors_of(self, texts, prefix, self._prompt_length(prefix), dim, batch_tokens, bar)

    def encode_queries(
        self, texts: Sequence[str], *, prompt: str | None = None, dim: int | None = None, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """`encode` with the model's own query prompt, or `prompt`."""
        prompt = self.own_prompt("query") if prompt is None else prompt
        return self.encode(texts, prompt=prompt, dim=dim, show_progress=show_progress and "queries")

    def encode_passages(
        self, texts: Sequence[str], *, prompt: str | None = None, dim: int | None = None, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """`encode` with the model's own passage prompt, or `prompt`."""
        prompt = self.own_prompt("document", "passage", "corpus") if prompt is None else prompt
        return self.encode(texts, prompt=prompt, dim=dim, show_progress=show_progress and "passages")

    def own_prompt(self, *names: str) -> str:
        """The first of the model's prompts that has one of these names; empty if none has."""
        return next((self.prompts[name] for name in names if self.prompts.get(name)), "")

    def prompt_text(self, prompt_name: str | None, prompt: str | None) -> str:
        """What stands before each text.

        Raises:
            ModelError: the model has no prompt of that name.
        """
        if prompt is not None:
            return prompt
        name = prompt_name or self.model.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise ModelError(
                f"--prompt-name {name}: the model's prompts are: {known}", "use one of them, or --prompt TEXT"
            )
        return self.prompts[name]

    def _expect_dim(self, dim: int | None) -> None:
        if dim is not None and dim > self.dimension:
            raise ModelError(
                f"--dim {dim}: the model's vectors have {self.dimension} dimensions", "choose a smaller --dim"
            )

    def _prompt_length(self, prefix: str) -> dict[str, int]:
        """Tokens that a pooling which leaves the prompt out has to skip."""
        if not prefix or all(getattr(module, "include_prompt", True) for module in self.model.children()):
            return {}
        tokens = tokenize(self.tokenizer, [prefix], self.max_len).ids
        ends_with_special = len(tokens) > 0 and int(tokens[-1]) in self.tokenizer.all_special_ids
        return {"prompt_length": len(tokens) - int(ends_with_special)}

    def set_prompts(self, query: str | None, passage: str | None) -> None:
        """Give the model prompts for queries and passages; None leaves its own."""
        for name, text in (("query", query), ("document", passage)):
            if text is not None:
                self.model.prompts[name] = text

    def append_normalize(self) -> None:
        """Make sure that the saved model gives vectors of length 1, as it is trained to."""
        from sentence_transformers.sentence_transformer.modules import Normalize

        if not isinstance(list(self.model.children())[-1], Normalize):
            self.model.append(Normalize())

    def weights_hash(self) -> str:
        """A digest of the weights."""
        return hash_weights(self.model)

    def save(self, path: str | Path) -> None:
        """Write the model in sentence-transformers' format."""
        self.model.save_pretrained(str(path), create_model_card=False)

"""The embedding model that all commands use: loading, encoding of texts, prompts and saving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl import console
from embedctl.errors import ConfigError, ModelError
from embedctl.model.device import select_device
from embedctl.model.encoding import encode_texts
from embedctl.model.equivalence import (
    check_own_forward,
    comparison_problem,
    packing_problem,
    record_comparison,
    was_compared,
)
from embedctl.model.lengths import check_positions, remove_truncation, write_length
from embedctl.model.loading import hash_weights, load_sentence_transformer
from embedctl.model.similarity import SIMILARITIES, Similarity
from embedctl.model.token_embedder import TokenEmbedder
from embedctl.tokens.prompts import PromptKind, first_prompt, model_prompt
from embedctl.tokens.raw_text import mark
from embedctl.tokens.tokenize import tokenize


class Embedder(TokenEmbedder):
    """A sentence-transformers model with texts as input."""

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
        """Load a model for encoding.

        Args:
            path: a sentence-transformers or transformers folder, or a Hugging Face Hub name.
            device: see `select_device`.
            dtype: float32, bfloat16 or float16.
            trust_remote_code: whether Python code of the model may run.
            max_len: the largest number of tokens per text, at most the model's positions; its own limit by default.
            attention: auto, packed or padded; see `choose_attention`.

        Raises:
            ModelError: the model cannot be loaded, or the device is not available.
            ConfigError: see `set_max_len`.
        """
        target = select_device(device)
        model = load_sentence_transformer(path, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code)
        embedder = cls(model.to(target)).eval()
        embedder.compare_with_own_forward(path)
        if max_len is not None:
            embedder.set_max_len(max_len, path)
        embedder.choose_attention(attention)
        return embedder

    def set_max_len(self, max_len: int, path: str) -> None:
        """Set the maximum number of tokens per text; `path` names the model in messages.

        Raises:
            ConfigError: the first module of the model does not truncate texts, or the model has fewer positions.
        """
        if not self.truncates_texts:
            message = f"--max-len: the module {type(self.model[0]).__name__} of this model does not truncate texts"
            raise ConfigError(message, "omit --max-len")
        check_positions("--max-len", max_len, self.position_limit, path)
        if self.uses_own_forward:
            self.own_forward_limit = max_len
        else:
            self.model.max_seq_length = max_len

    def compare_with_own_forward(self, path: str) -> None:
        """Select sentence-transformers' own forward pass if the vectors of this class differ from its vectors.

        A model without a difference is recorded by the files in the folder `path`, and is not compared again.

        Raises:
            ModelError: no code can encode a text, or the vectors are not finite.
        """
        problem = check_own_forward(self) if self.uses_own_forward else None
        if not (problem or was_compared(path)):
            problem = comparison_problem(self, {"queries": self.encode_queries, "passages": self.encode_passages})
        if problem:
            self.use_own_forward(path, problem)
        else:
            record_comparison(path)

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts saved with the model, by name."""
        return {name: text for name, text in self.model.prompts.items() if text is not None}

    @property
    def similarity(self) -> Similarity:
        """The function by which the model's vectors are compared, as its configuration states; cosine by default."""
        return SIMILARITIES[self.model.similarity_fn_name]

    def choose_attention(self, attention: str, compute_dtype: torch.dtype | None = None) -> None:
        """Select packed or padded texts; if packing changes the vectors, print a warning and select padded texts.

        Args:
            attention: packed, padded, or auto: packed on a GPU in half precision, where packing is faster.
            compute_dtype: the type in which the model computes; the type of the weights by default.
        """
        compute_dtype = compute_dtype or self.dtype
        faster = self.device.type == "cuda" and compute_dtype in (torch.bfloat16, torch.float16)
        packed = attention == "packed" or (attention == "auto" and faster)
        problem = packing_problem(self, compute_dtype) if packed else None
        if problem:
            console.warn(f"{problem}. Texts are padded instead.")
        self.set_packed(packed and not problem)

    def encode(  # noqa: PLR0913  the options of SentenceTransformer.encode
        self,
        texts: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        kind: PromptKind | None = None,
        dim: int | None = None,
        batch_tokens: int | None = None,
        device: str | None = None,
        show_progress: bool | str | console.Bar = False,
    ) -> NDArray[np.float32]:
        """Return the vectors (N, H) of N texts, in the order of the texts, as `SentenceTransformer.encode` does.

        Args:
            texts: the texts without a prompt; a single text that is not in a list gives its vector (H,).
            prompt_name: the name of the model's prompt to prepend to each text; the model's default prompt by default.
            prompt: the prompt to prepend to each text, instead of one of the model's.
            kind: what the texts are, for models that encode queries and passages differently.
            dim: the number of leading dimensions to keep, by default `truncate_dim` of the model; the vectors are then
                normalized again if the similarity function of the model is the cosine.
            batch_tokens: the largest number of tokens per forward pass; it depends on the device by default.
            device: the device to move the model to.
            show_progress: whether to show a progress bar, the unit of a new bar, or an existing bar.

        Raises:
            ConfigError: the model has fewer than `dim` dimensions.
            ModelError: the model has no such prompt.
        """
        if device is not None:
            self.to(select_device(device))
        self.check_dim(dim)
        prompt = self.resolve_prompt(prompt_name, prompt)
        prefix, extra = self.prefix(kind, prompt), self._prompt_length(prompt)
        dim = dim or self.model.truncate_dim
        listed = [texts] if isinstance(texts, str) else texts
        with console.progress_if(show_progress, "encode", len(listed), "texts") as bar:
            vectors = encode_texts(self, listed, prefix, extra, dim, batch_tokens, bar)
        vectors = vectors if dim is None else self.similarity.prepare(vectors)
        return vectors[0] if isinstance(texts, str) else vectors

    def encode_queries(
        self,
        texts: str | Sequence[str],
        *,
        prompt: str | None = None,
        dim: int | None = None,
        show_progress: bool = False,
    ) -> NDArray[np.float32]:
        """Encode queries with `prompt`, by default the model's query prompt; see `encode`."""
        prompt = first_prompt(prompt, self.prompt_for("query"))
        return self.encode(texts, prompt=prompt, kind="query", dim=dim, show_progress=show_progress and "queries")

    def encode_passages(
        self,
        texts: str | Sequence[str],
        *,
        prompt: str | None = None,
        dim: int | None = None,
        show_progress: bool = False,
    ) -> NDArray[np.float32]:
        """Encode passages with `prompt`, by default the model's passage prompt; see `encode`."""
        prompt = first_prompt(prompt, self.prompt_for("passage"))
        return self.encode(texts, prompt=prompt, kind="passage", dim=dim, show_progress=show_progress and "passages")

    def check_dim(self, dim: int | None) -> None:
        """Raise a ConfigError if the vectors have fewer than `dim` dimensions."""
        if dim is not None and dim > self.dimension:
            message = f"--dim {dim}: the model has only {self.dimension} dimensions"
            raise ConfigError(message, f"use --dim {self.dimension} or less")

    def prompt_for(self, kind: PromptKind) -> str:
        """Return the model's prompt for queries or passages, else its default prompt; empty if it has neither."""
        prompt = model_prompt(self.prompts, kind)
        return self.resolve_prompt(None, None) if prompt is None else prompt

    def prefix(self, kind: PromptKind | None, prompt: str) -> str:
        """Return what is prepended to texts before tokenization: the prompt, or a mark that contains it."""
        return mark(kind, prompt) if self.uses_own_forward else prompt

    def resolve_prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        """Return the prompt to prepend to each text: `prompt`, else the named one, else the model's default prompt.

        Raises:
            ModelError: the model has no prompt of that name.
        """
        if prompt is not None:
            return prompt
        name = prompt_name or self.model.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            names = ", ".join(sorted(self.prompts)) or "none"
            problem = f"--prompt-name {name}: the model has no prompt of this name (its prompts: {names})"
            raise ModelError(problem, "use one of these names, or give the text of a prompt with --prompt")
        return self.prompts[name]

    @property
    def excludes_prompt(self) -> bool:
        """Whether pooling leaves out the tokens of the prompt."""
        return not all(getattr(module, "include_prompt", True) for module in self.model.children())

    def _prompt_length(self, prefix: str) -> dict[str, int]:
        """Return {"prompt_length": number of prompt tokens} if pooling excludes the prompt, else an empty dict."""
        if not prefix or self.uses_own_forward or not self.excludes_prompt:
            return {}
        tokens = tokenize(self.tokenizer, [prefix], self.max_len).ids
        ends_with_special = len(tokens) > 0 and int(tokens[-1]) in self.tokenizer.all_special_ids
        return {"prompt_length": len(tokens) - int(ends_with_special)}

    def set_prompts(self, query: str | None, passage: str | None) -> None:
        """Set the model's prompts for queries and passages; None keeps the current prompt."""
        for name, text in (("query", query), ("document", passage)):
            if text is not None:
                self.model.prompts[name] = text

    def weights_hash(self) -> str:
        """Return a digest of the weights."""
        return hash_weights(self.model)

    def save(self, path: str | Path) -> None:
        """Save the model as a sentence-transformers folder whose files state its own maximum length."""
        remove_truncation(self.model)
        self.model.save_pretrained(str(path), create_model_card=False)
        write_length(self.model, Path(path))

"""The model core that every command shares: texts in, vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl import console
from embedctl.errors import ModelError
from embedctl.model.encoding import encode_texts
from embedctl.model.loading import hash_weights, load_sentence_transformer
from embedctl.model.equivalence import packing_problem
from embedctl.model.token_embedder import TokenEmbedder
from embedctl.tokens.prompts import PromptKind, first_prompt, model_prompt
from embedctl.tokens.tokenize import tokenize


def select_device(device: str | None = None) -> torch.device:
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


class Embedder(TokenEmbedder):
    """A sentence-transformers model that takes texts; see `TokenEmbedder` for its arguments."""

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
        target = select_device(device)
        precision: torch.dtype = getattr(torch, dtype)
        model = load_sentence_transformer(path, dtype=precision, trust_remote_code=trust_remote_code)
        if max_len is not None:
            model.max_seq_length = max_len
        embedder = cls(model.to(target)).eval()
        embedder.choose_attention(attention)
        return embedder

    @property
    def prompts(self) -> dict[str, str]:
        """The model's own prompts by name."""
        return {name: text for name, text in self.model.prompts.items() if text is not None}

    def choose_attention(self, attention: str, compute: torch.dtype | None = None) -> None:
        """Pack if asked for, or if it pays here; fall back to padding, with a word, where the vectors would differ.

        Args:
            attention: auto, packed or padded.
            compute: the type in which the model will run, where that is not the weights'.
        """
        compute = compute or self.dtype
        pays = self.device.type == "cuda" and compute in (torch.bfloat16, torch.float16)
        wanted = attention == "packed" or (attention == "auto" and pays)
        problem = packing_problem(self, compute) if wanted else None
        if problem:
            console.warn(f"{problem}: batches are padded instead")
        self.set_packed(wanted and not problem)

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
        if device is not None and select_device(device) != self.device:
            self.to(select_device(device))
        prefix = self.resolve_prompt(prompt_name, prompt)
        if dim is not None and dim > self.dimension:
            problem = f"--dim {dim}: the model's vectors have {self.dimension} dimensions"
            raise ModelError(problem, "choose a smaller --dim")
        with console.progress_if(show_progress, "encode", len(texts), "texts") as bar:
            return encode_texts(self, texts, prefix, self._prompt_length(prefix), dim, batch_tokens, bar)

    def encode_queries(
        self, texts: Sequence[str], *, prompt: str | None = None, dim: int | None = None, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """`encode` with the model's own query prompt, or `prompt`."""
        prompt = first_prompt(prompt, self.prompt_for("query"))
        return self.encode(texts, prompt=prompt, dim=dim, show_progress=show_progress and "queries")

    def encode_passages(
        self, texts: Sequence[str], *, prompt: str | None = None, dim: int | None = None, show_progress: bool = False
    ) -> NDArray[np.float32]:
        """`encode` with the model's own passage prompt, or `prompt`."""
        prompt = first_prompt(prompt, self.prompt_for("passage"))
        return self.encode(texts, prompt=prompt, dim=dim, show_progress=show_progress and "passages")

    def prompt_for(self, kind: Kind) -> str:
        """The model's own prompt for queries or passages; empty if it has none."""
        return model_prompt(self.prompts, kind)

    def resolve_prompt(self, prompt_name: str | None, prompt: str | None) -> str:
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
            problem = f"--prompt-name {name}: the model's prompts are: {known}"
            raise ModelError(problem, "use one of them, or --prompt TEXT")
        return self.prompts[name]

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

"""Tokenization and forward pass by sentence-transformers' own code, for models that `TokenEmbedder` cannot run itself.

Examples are models whose first module is not a transformer (StaticEmbedding, Router), chat templates, and different
maximum lengths of queries and documents. This path is slower: texts are tokenized in every pass, and always padded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from embedctl.model.lengths import input_module
from embedctl.model.vocabulary import check_tokens
from embedctl.tokens.packing import Ragged
from embedctl.tokens.raw_text import parse

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def own_features(model: SentenceTransformer, texts: Ragged, device: torch.device) -> dict[str, Any]:
    """Return the input of `own_forward` for N texts, whose ids are those of `RawTextTokenizer`.

    Texts with the same task, prompt and maximum length are one part: its model inputs, and the arguments of the forward
    pass. `order` (N,) contains the indices that sort the vectors of all parts as the texts.

    Raises:
        ModelError: a token has no row in the embedding matrix.
    """
    from sentence_transformers.util import batch_to_device

    groups: dict[tuple[str | None, str, int | None], list[int]] = {}
    raw_texts = [parse(texts.ids[start:stop]) for start, stop in zip(texts.spans.starts, texts.spans.ends, strict=True)]
    for index, raw in enumerate(raw_texts):
        groups.setdefault((raw.task, raw.prompt, raw.max_len), []).append(index)
    parts = []
    for (task, prompt, max_len), indices in groups.items():
        options = {"task": task} if task else {}
        # It takes precedence over every length that the model states.
        limit = {"processing_kwargs": {"text": {"max_length": max_len}}} if max_len else {}
        part = [raw_texts[index].text for index in indices]
        inputs = model.preprocess(part, prompt=prompt or None, **options, **limit)
        module = input_module(model, "query" if task == "query" else "passage")
        if torch.is_tensor(ids := inputs.get("input_ids")) and ids.numel():
            check_tokens(module, int(ids.max()))
        parts.append((batch_to_device(inputs, device), options))
    order = torch.tensor([index for indices in groups.values() for index in indices]).argsort()
    return {"parts": parts, "order": order.to(device)}


def own_forward(model: SentenceTransformer, features: dict[str, Any]) -> Tensor:
    """Return the vectors (N, H) of the texts in `features`; see `own_features`."""
    vectors = [model(dict(inputs), **options)["sentence_embedding"] for inputs, options in features["parts"]]
    return torch.cat(vectors)[features["order"]]

"""Checks that a faster implementation returns the same vectors as the model's own code, on a few sample texts."""

from __future__ import annotations

import torch

from embedctl.errors import first_line
from embedctl.model.token_embedder import TokenEmbedder
from embedctl.tokens.tokenize import tokenize

SAMPLE_TEXTS = ("a", "packed and padded texts give the same vector", "the quick brown fox jumps over the lazy dog " * 4)
MAX_DIFFERENCE = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.02, torch.float16: 0.005}
PACKING_ERRORS = (
    ValueError,  # `packed_attention` lacks a feature of the model, or transformers rejects another attention function
    TypeError,  # the model or one of its layers (StableLM's) does not accept `cu_seq_lens_q` and `max_length_q`
    RuntimeError,  # the kernel does not support the head size or the GPU, or the model adds a tensor of another shape
)


def sample_vectors(embedder: TokenEmbedder) -> torch.Tensor:
    """Return the normalized vectors of the sample texts, with the model's current attention and precision."""
    features = embedder.features(tokenize(embedder.tokenizer, SAMPLE_TEXTS, embedder.max_len))
    return torch.nn.functional.normalize(embedder(features), dim=-1)


@torch.no_grad()
def packing_problem(embedder: TokenEmbedder, compute_dtype: torch.dtype) -> str | None:
    """Return the reason why packing cannot be used for a model; None if packed and padded vectors are equal.

    Vectors are computed in `compute_dtype` and compared with the tolerance `MAX_DIFFERENCE`. The call leaves packing
    enabled; the caller selects the mode afterwards.
    """
    training = embedder.training
    embedder.eval()
    try:
        with torch.autocast(embedder.device.type, dtype=compute_dtype, enabled=compute_dtype != embedder.dtype):
            embedder.set_packed(False)
            padded = sample_vectors(embedder)
            try:
                embedder.set_packed(True)
                packed = sample_vectors(embedder)
            except PACKING_ERRORS as cause:
                return f"this model does not support packed texts ({first_line(cause)})"
    finally:
        embedder.train(training)
    difference = float((padded - packed).abs().max())
    limit = MAX_DIFFERENCE[compute_dtype]
    return None if difference <= limit else f"packed and padded embeddings differ by up to {difference:.1e}"

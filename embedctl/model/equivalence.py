"""A few texts run two ways: whether a faster one gives a model's own vectors."""

from __future__ import annotations

import torch

from embedctl.errors import first_line
from embedctl.model.token_embedder import TokenEmbedder
from embedctl.tokens.tokenize import tokenize

PROBES = ("a", "packed and padded texts give the same vector", "the quick brown fox jumps over the lazy dog " * 4)
PARITY = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.02, torch.float16: 0.005}
UNPACKABLE = (
    ValueError,  # `packed_attention` refuses what the model asks for, or transformers another attention
    TypeError,  # the model, or a layer such as StableLM's, has no parameters for the borders of texts
    RuntimeError,  # the kernel refuses the head size or the GPU, or the model adds a tensor of another shape
)


def probe(embedder: TokenEmbedder) -> torch.Tensor:
    """Normalised vectors of the probes, as the model is set now."""
    features = embedder.features(tokenize(embedder.tokenizer, PROBES, embedder.max_len))
    return torch.nn.functional.normalize(embedder(features), dim=-1)


@torch.no_grad()
def packing_problem(embedder: TokenEmbedder, compute: torch.dtype) -> str | None:
    """What keeps a model from being packed when it computes in `compute`; None if its vectors stay the same.

    The model is left packed.
    """
    training = embedder.training
    embedder.eval()
    try:
        with torch.autocast(embedder.device.type, dtype=compute, enabled=compute != embedder.dtype):
            embedder.set_packed(False)
            padded = probe(embedder)
            try:
                embedder.set_packed(True)
                packed = probe(embedder)
            except UNPACKABLE as cause:
                return f"this model can't be packed ({first_line(cause)})"
    finally:
        embedder.train(training)
    difference = float((padded - packed).abs().max())
    return None if difference <= PARITY[compute] else f"packed vectors differ by {difference:.1e}"

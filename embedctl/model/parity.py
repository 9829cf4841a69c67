"""A few texts run two ways: whether a faster one gives a model's own vectors."""

from __future__ import annotations

import torch

from embedctl.model.token_embedder import TokenEmbedder
from embedctl.tokens.tokenize import tokenize

PROBES = ("a", "packed and padded texts give the same vector", "the quick brown fox jumps over the lazy dog " * 4)
PARITY = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.02, torch.float16: 0.005}


def probe(embedder: TokenEmbedder) -> torch.Tensor:
    """Normalised vectors of the probes, as the model is set now."""
    features = embedder.features(tokenize(embedder.tokenizer, PROBES, embedder.max_len))
    return torch.nn.functional.normalize(embedder(features), dim=-1)


@torch.no_grad()
def why_not_packed(embedder: TokenEmbedder, compute: torch.dtype) -> str | None:
    """What keeps a model from being packed when it computes in `compute`; None if its vectors stay the same.

    The model is left packed or padded, whichever was tried last.
    """
    training, vectors = embedder.training, []
    embedder.eval()
    try:
        for packed in (False, True):
            embedder.set_packed(packed)
            with torch.autocast(embedder.device.type, dtype=compute, enabled=compute != embedder.dtype):
                vectors.append(probe(embedder))
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as cause:
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        return f"this model can't be packed ({reason[:200]})"
    finally:
        embedder.train(training)
    difference = float((vectors[0] - vectors[1]).abs().max())
    return None if difference <= PARITY[compute] else f"packed vectors differ by {difference:.1e}"

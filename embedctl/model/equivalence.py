"""Checks that a faster implementation returns the same vectors as the model's own code, on a few sample texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from torch.nn.functional import normalize

from embedctl import __version__
from embedctl.errors import ModelError, first_line
from embedctl.model.token_embedder import TokenEmbedder
from embedctl.outputs import record, was_recorded
from embedctl.remote import hub
from embedctl.tokens.tokenize import tokenize

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]  # N texts -> vectors (N, H)
SAMPLE_TEXTS = ("a", "packed and padded texts give the same vector", "the quick brown fox jumps over the lazy dog " * 4)
MAX_DIFFERENCE = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 0.02, torch.float16: 0.005}
MIN_COSINE = {torch.float32: 0.99999, torch.float64: 0.99999, torch.bfloat16: 0.99, torch.float16: 0.999}
# Largest relative difference of the lengths of two vectors, which a missing Normalize module or a scale exceeds.
MAX_LENGTH_DIFFERENCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
LONG_TEXT_WORDS = 300  # enough for the usual maximum lengths; longer texts take longer
MODULES_HINT = "compare modules.json and the configuration of its modules with those of the original model"
OWN_CODE_ERRORS = (  # of unknown kinds of models, or of wrong values in a configuration
    *(ValueError, TypeError, RuntimeError, LookupError, AttributeError, ArithmeticError, AssertionError),
    TemplateError,  # of a chat template
)
PACKING_ERRORS = (
    ValueError,  # `packed_attention` lacks a feature of the model, or transformers rejects another attention function
    TypeError,  # the model or one of its layers (StableLM's) does not accept `cu_seq_lens_q` and `max_length_q`
    RuntimeError,  # the kernel does not support the head size or the GPU, or the model adds a tensor of another shape
)


class Agreement(NamedTuple):
    """How far two arrays of vectors agree."""

    cosine: float  # the lowest cosine similarity of two rows
    length: float  # the largest difference between the lengths of two rows, relative to the second array

    @classmethod
    def of(cls, found: NDArray[np.float32], expected: NDArray[np.float32]) -> Agreement:
        """Compare two arrays (N, H) row by row."""
        found_N, expected_N = np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1)
        smallest = np.finfo(np.float32).tiny  # no division by 0
        cosine_N = (found * expected).sum(axis=1) / np.maximum(found_N * expected_N, smallest)
        length_N = abs(found_N - expected_N) / np.maximum(expected_N, smallest)
        return cls(float(cosine_N.min()), float(length_N.max()))

    def is_within(self, cosine: float, length: float) -> bool:
        """Return whether the cosine similarity is at least `cosine` and the difference of lengths at most `length`."""
        return self.cosine >= cosine and self.length <= length

    def __str__(self) -> str:
        lengths = f", lengths differ by {self.length:.1%}" if self.length > min(MAX_LENGTH_DIFFERENCE.values()) else ""
        return f"cosine {self.cosine:.5f}{lengths}"


def sample_vectors(embedder: TokenEmbedder) -> torch.Tensor:
    """Return the normalized vectors of the sample texts, with the model's current attention and precision."""
    features = embedder.features(tokenize(embedder.tokenizer, SAMPLE_TEXTS, embedder.max_len))
    return normalize(embedder(features), dim=-1)


def comparison_problem(embedder: TokenEmbedder, encoders: Mapping[str, EncodeTexts]) -> str | None:
    """Return how the vectors of an embedder differ from those of `SentenceTransformer`; None if they are equal.

    Sample texts are encoded with the functions of `encoders`: `queries` and `passages`. The same weights are used, one
    text per forward pass. A model that sentence-transformers cannot run is not compared.

    Raises:
        ModelError: no code can encode a text, or the vectors are wrong; see `_check_vectors`.
    """
    texts = [*SAMPLE_TEXTS, "long text " * min(embedder.max_len, LONG_TEXT_WORDS)]
    found, failure = _attempt(encoders.values(), texts)
    expected, own_failure = _attempt(own_encoders(embedder.model, batch_size=1), texts)
    if failure and own_failure:
        raise _cannot_encode(own_failure)
    _check_vectors(embedder, [*expected, *found])
    if failure:
        return f"the model needs another forward pass ({failure})"
    for kind, own, vectors in zip(encoders, expected, found, strict=False):
        agreement = Agreement.of(vectors, own)
        if not agreement.is_within(MIN_COSINE[embedder.dtype], MAX_LENGTH_DIFFERENCE[embedder.dtype]):
            return f"the embeddings of {kind} differ from those of sentence-transformers ({agreement})"
    return None


def check_own_forward(embedder: TokenEmbedder) -> str:
    """Check that sentence-transformers can encode sample texts, and return why it must encode all texts of this model.

    The texts are encoded as queries, as documents and as texts of no kind; some models refuse one or two of them.

    Raises:
        ModelError: it cannot, or the vectors are wrong; see `_check_vectors`.
    """
    encoders = (*own_encoders(embedder.model), partial(embedder.model.encode, show_progress_bar=False))
    attempts = [_attempt([encode], SAMPLE_TEXTS) for encode in encoders]
    vectors = [array for found, _ in attempts for array in found]
    if not vectors:
        raise _cannot_encode(attempts[0][1])
    _check_vectors(embedder, vectors)
    return f"the first module of the model, {type(embedder.model[0]).__name__}, is not a transformer"


def _attempt(encoders: Iterable[EncodeTexts], texts: Sequence[str]) -> tuple[list[NDArray[np.float32]], str]:
    """Return the vectors by each function; an empty list and the reason if one of them fails."""
    try:
        return [encode(texts) for encode in encoders], ""
    except OWN_CODE_ERRORS as cause:
        return [], first_line(cause)


def _cannot_encode(reason: str) -> ModelError:
    return ModelError(f"the model cannot encode a text: {reason}", MODULES_HINT)


def _check_vectors(embedder: TokenEmbedder, vectors: Iterable[NDArray[np.float32]]) -> None:
    """Raise a ModelError if vectors of sample texts contain NaN or infinity, or have another number of dimensions."""
    for array in vectors:
        if not np.isfinite(array).all():
            hint = "download the model again" if embedder.dtype == torch.float32 else "use --precision float32"
            raise ModelError("the embedding of a short text contains NaN or infinity: a weight is damaged", hint)
        if array.shape[1] != (stated := embedder.encoded_dimension(None)):
            message = f"the model states {stated} dimensions, but its embeddings have {array.shape[1]}"
            raise ModelError(message, MODULES_HINT)


def own_encoders(model: SentenceTransformer, **options: Any) -> tuple[EncodeTexts, EncodeTexts]:
    """Return sentence-transformers' functions that encode queries and passages with the model's prompts.

    If the model states `truncate_dim`, vectors are normalized again for the cosine, as `Embedder.encode` does.
    """
    truncated = model.truncate_dim is not None and model.similarity_fn_name == "cosine"
    options |= {"normalize_embeddings": truncated, "show_progress_bar": False}
    return partial(model.encode_query, **options), partial(model.encode_document, **options)


def was_compared(path: str) -> bool:
    """Return whether the files of a model were compared without a difference, by the same library versions."""
    folder = hub.configuration_folder(path)
    return folder is not None and was_recorded(folder, _comparison())


def record_comparison(path: str) -> None:
    """Record that a model was compared, or was exported, without a difference."""
    if folder := hub.configuration_folder(path):
        record(folder, _comparison())


def _comparison() -> str:
    packages = ("sentence-transformers", "transformers", "tokenizers", "torch")
    return " ".join(("compared with lengths:", __version__, *map(version, packages)))


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

"""Normalized vectors of queries and passages, with the prompts of rows, options and models."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedctl.model.embedder import Embedder
from embedctl.model.similarity import COSINE, normalize
from embedctl.search.vectors import passage_vectors, query_vectors


@pytest.fixture(scope="module")
def embedder(tiny_model) -> Embedder:
    model = Embedder.from_pretrained(tiny_model, device="cpu")
    model.set_prompts("river ", "stone ")
    return model


TEXTS = ["alpha beta", "gamma", "delta river stone"]


def test_normalize_keeps_a_zero_vector():
    found = normalize(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert found.dtype == np.float32


def test_the_prompt_of_a_row_has_priority(embedder):
    found = query_vectors(embedder, TEXTS, [None, "cloud ", ""], prompt="market ")
    expected = embedder.encode(["market alpha beta", "cloud gamma", "delta river stone"], prompt="")
    np.testing.assert_allclose(found, normalize(expected), atol=1e-6)


def test_the_prompts_of_the_model_are_the_default(embedder):
    queries = embedder.encode(["river " + text for text in TEXTS], prompt="")
    passages = embedder.encode(["stone " + text for text in TEXTS], prompt="")
    np.testing.assert_allclose(query_vectors(embedder, TEXTS, [None] * 3), normalize(queries), atol=1e-6)
    np.testing.assert_allclose(passage_vectors(embedder, TEXTS), normalize(passages), atol=1e-6)
    assert not np.allclose(queries, passages, atol=1e-3)


def test_leading_dimensions_are_normalized(embedder):
    for found in (query_vectors(embedder, TEXTS, [None] * 3, dim=16), passage_vectors(embedder, TEXTS, dim=16)):
        assert found.shape == (3, 16)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


class UnnormalizedModel:
    """A model without normalization. Both dimensions of a vector are the length of the text."""

    dimension = 2
    similarity = COSINE

    def prompt_for(self, _kind: str) -> str:
        return ""

    def encode(self, texts, **_options):
        return np.array([[len(text)] * 2 for text in texts], np.float32)


def test_vectors_of_a_model_without_normalization_are_normalized():
    for found in (query_vectors(UnnormalizedModel(), TEXTS, [None] * 3), passage_vectors(UnnormalizedModel(), TEXTS)):
        np.testing.assert_allclose(found, np.full((3, 2), 0.5**0.5), rtol=1e-6)


def test_another_encode_function_replaces_that_of_the_model(embedder):
    calls = []

    def _encode(texts, *, prompt, **_options):
        calls.append((texts, prompt))
        return np.full((len(texts), 2), 3, np.float32)

    found = query_vectors(embedder, TEXTS, [None, "cloud ", None], dim=2, encode=_encode)
    passages = passage_vectors(embedder, TEXTS, encode=_encode)
    assert calls == [([TEXTS[0], TEXTS[2]], "river "), ([TEXTS[1]], "cloud "), (TEXTS, "stone ")]
    np.testing.assert_allclose([*found, *passages], np.full((6, 2), 0.5**0.5), rtol=1e-6)


def test_a_single_string_is_one_text(tiny_model):
    reference = SentenceTransformer(tiny_model, device="cpu").encode("river stone")
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    for vector in (embedder.encode("river stone"), embedder.encode_queries("river stone")):
        assert vector.shape == reference.shape == (embedder.dimension,)
        assert np.abs(vector - reference).max() < 1e-6
    assert embedder.encode_passages("river stone").shape == (embedder.dimension,)

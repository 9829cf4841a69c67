"""Vectors as search compares them: length 1, each query with its own prompt, equal to sentence-transformers'."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.model.embedder import Embedder
from embedctl.search.vectors import passage_vectors, query_vectors, normalize


@pytest.fixture(scope="module")
def embedder(tiny_model) -> Embedder:
    model = Embedder.from_pretrained(tiny_model, device="cpu")
    model.set_prompts("river ", "stone ")
    return model


TEXTS = ["alpha beta", "gamma", "delta river stone"]


def test_unit_vectors_and_the_zero_vector():
    found = normalize(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert found.dtype == np.float32


def test_a_querys_own_prompt_wins_over_all_others(embedder):
    found = query_vectors(embedder, TEXTS, [None, "cloud ", ""], prompt="market ")
    expected = embedder.encode(["market alpha beta", "cloud gamma", "delta river stone"], prompt="")
    np.testing.assert_allclose(found, normalize(expected), atol=1e-6)


def test_the_models_prompts_are_the_default(embedder):
    queries = embedder.encode(["river " + text for text in TEXTS], prompt="")
    passages = embedder.encode(["stone " + text for text in TEXTS], prompt="")
    np.testing.assert_allclose(query_vectors(embedder, TEXTS, [None] * 3), normalize(queries), atol=1e-6)
    np.testing.assert_allclose(passage_vectors(embedder, TEXTS), normalize(passages), atol=1e-6)
    assert not np.allclose(queries, passages, atol=1e-3)


def test_leading_dimensions_at_length_1(embedder):
    for found in (query_vectors(embedder, TEXTS, [None] * 3, dim=16), passage_vectors(embedder, TEXTS, dim=16)):
        assert found.shape == (3, 16)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


class Long:
    """A model that does not normalise: the vector of a text is its length, twice."""

    dimension = 2

    def prompt_for(self, _kind: str) -> str:
        return ""

    def encode(self, texts, **_options):
        return np.array([[len(text)] * 2 for text in texts], np.float32)


def test_what_a_model_leaves_long_is_compared_by_cosine():
    for found in (query_vectors(Long(), TEXTS, [None] * 3), passage_vectors(Long(), TEXTS)):
        np.testing.assert_allclose(found, np.full((3, 2), 0.5**0.5), rtol=1e-6)


def test_another_encode_takes_the_place_of_the_models_own(embedder):
    asked = []

    def _encode(texts, *, prompt, **_options):
        asked.append((texts, prompt))
        return np.full((len(texts), 2), 3, np.float32)

    found = query_vectors(embedder, TEXTS, [None, "cloud ", None], dim=2, encode=_encode)
    passages = passage_vectors(embedder, TEXTS, encode=_encode)
    assert asked == [([TEXTS[0], TEXTS[2]], "river "), ([TEXTS[1]], "cloud "), (TEXTS, "stone ")]
    np.testing.assert_allclose([*found, *passages], np.full((6, 2), 0.5**0.5), rtol=1e-6)

"""The similarity functions: their scores compared with sentence-transformers, and truncated embeddings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import SimilarityFunction, semantic_search

import embedctl
from embedctl.model.embedder import Embedder
from embedctl.model.similarity import SIMILARITIES
from embedctl.search.exact import search
from tests.conftest import save_stating, sentence

RNG = np.random.default_rng(0)
QUERIES, DOCUMENTS = RNG.standard_normal((9, 16), np.float32), 3 * RNG.standard_normal((70, 16), np.float32)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_scores_are_those_of_sentence_transformers(name):
    similarity = SIMILARITIES[name]
    expected = SimilarityFunction.to_similarity_fn(name)(QUERIES, DOCUMENTS).numpy()
    query_QH, document_DH = similarity.prepare(QUERIES), similarity.prepare(DOCUMENTS)
    found = similarity.scores(torch.from_numpy(query_QH), torch.from_numpy(document_DH)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    pairs = [similarity.pair_scores(query_H, document_DH) for query_H in query_QH]
    np.testing.assert_allclose(pairs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_search_is_that_of_sentence_transformers(name):
    similarity = SIMILARITIES[name]
    scores, ids = search(similarity.prepare(QUERIES), similarity.prepare(DOCUMENTS), 12, "cpu", similarity=similarity)
    function = SimilarityFunction.to_similarity_fn(name)
    queries, documents = torch.from_numpy(QUERIES), torch.from_numpy(DOCUMENTS)
    expected = semantic_search(queries, documents, top_k=12, score_function=function)
    assert ids.tolist() == [[hit["corpus_id"] for hit in hits] for hits in expected]
    np.testing.assert_allclose(scores, [[hit["score"] for hit in hits] for hits in expected], rtol=1e-5, atol=1e-5)


def test_a_distance_of_equal_vectors_is_zero_and_equal_documents_are_in_order():
    vectors = np.repeat(1000 + RNG.standard_normal((1, 64), np.float32), 60, axis=0)
    for name in ("euclidean", "manhattan"):
        scores, ids = search(vectors[:30], vectors, 60, "cpu", similarity=SIMILARITIES[name])
        assert not scores.any()
        assert (ids == np.arange(60)).all()


@pytest.mark.parametrize("name", SIMILARITIES)
def test_truncated_embeddings_are_normalized_only_for_cosine_similarity(name, tiny_model, tmp_path):
    folder, texts = save_stating(tiny_model, tmp_path / "model", name), [sentence(seed) for seed in range(5)]
    expected = SentenceTransformer(folder, device="cpu").encode(
        texts, truncate_dim=16, normalize_embeddings=name == "cosine"
    )
    embedder = Embedder.from_pretrained(folder, device="cpu")
    assert embedder.similarity is SIMILARITIES[name]
    np.testing.assert_allclose(embedder.encode(texts, dim=16), expected, atol=1e-5)


def test_no_function_has_a_default_similarity_function():
    """A caller that forgets the function of the model would compare its vectors by another one, without a message."""
    sources = {path: path.read_text(encoding="utf-8") for path in Path(embedctl.__file__).parent.rglob("*.py")}
    pattern = re.compile(r"similarity: Similarity( \| None)? = (?!field\(kw_only=True\))")
    assert [path for path, source in sources.items() if pattern.search(source)] == []

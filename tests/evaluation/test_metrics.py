"""Metrics against values computed by hand, and the order of documents against sorting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embedctl.errors import ConfigError, ModelError
from embedctl.evaluation import metrics
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.metrics import evaluate_embedder, means, metrics_per_query, rank_documents
from embedctl.evaluation.names import METRICS, check_metric
from embedctl.model.similarity import COSINE


def ordered(count: int) -> np.ndarray:
    """Return document vectors in descending order of their score with the query (1, 0)."""
    return np.stack([np.linspace(1, 0.1, count), np.ones(count)], axis=1).astype(np.float32)


def build_collection(count: int, *grades: dict[int, int]) -> Collection:
    """Return a collection with `count` documents and, per query, grades by the index of the document."""
    return Collection(
        {f"q{number}": f"query {number}" for number in range(len(grades))},
        {f"d{index}": f"text {index}" for index in range(count)},
        {f"q{number}": {f"d{index}": grade for index, grade in row.items()} for number, row in enumerate(grades)},
    )


QUERY = np.array([[1, 0]], dtype=np.float32)


def mean_metrics(collection: Collection, query_QH: np.ndarray, corpus_DH: np.ndarray) -> dict[str, float]:
    return means(metrics_per_query(collection, query_QH, corpus_DH, similarity=COSINE))


def test_relevant_documents_in_second_and_fourth_place():
    found = mean_metrics(build_collection(200, {1: 1, 3: 1}), QUERY, ordered(200))
    ideal = 1 + 1 / math.log2(3)
    assert found == pytest.approx(
        {
            "nDCG@10": (1 / math.log2(3) + 1 / math.log2(5)) / ideal,
            "MRR@10": 1 / 2,
            "Recall@1": 0,
            "Recall@10": 1,
            "Recall@100": 1,
            "MAP": (1 / 2 + 2 / 4) / 2,
        }
    )


def test_relevant_documents_below_the_cut_offs():
    found = mean_metrics(build_collection(200, {10: 1, 99: 1, 100: 1, 0: 0}), QUERY, ordered(200))
    assert found == pytest.approx(
        {
            "nDCG@10": 0,
            "MRR@10": 0,
            "Recall@1": 0,
            "Recall@10": 0,
            "Recall@100": 2 / 3,
            "MAP": (1 / 11 + 2 / 100 + 3 / 101) / 3,
        }
    )


def test_grades_are_linear_gains():
    found = mean_metrics(build_collection(20, {0: 1, 2: 3}), QUERY, ordered(20))
    assert found["nDCG@10"] == pytest.approx((1 + 3 / 2) / (3 + 1 / math.log2(3)))


def test_the_mean_is_over_all_queries_and_values_have_query_ids():
    collection = build_collection(20, {0: 1}, {4: 1})
    query_QH = np.repeat(QUERY, 2, axis=0)
    assert metrics_per_query(collection, query_QH, ordered(20), similarity=COSINE)["MRR@10"] == {"q0": 1.0, "q1": 0.2}
    assert mean_metrics(collection, query_QH, ordered(20))["MRR@10"] == pytest.approx(0.6)


def test_documents_with_equal_scores_keep_the_order_of_the_corpus():
    same = np.ones((30, 2), dtype=np.float32)
    ranked = dict(rank_documents(build_collection(30, {11: 1}), QUERY, same, similarity=COSINE))
    assert ranked["q0"] == [f"d{index}" for index in range(30)]
    assert mean_metrics(build_collection(30, {11: 1}), QUERY, same)["MAP"] == pytest.approx(1 / 12)


def test_documents_with_the_querys_text_are_left_out_unless_relevant():
    corpus = {"a": "same", "b": "same", "c": "other", "d": "answer"}
    vectors = ordered(4)
    not_relevant = Collection({"q": "same"}, corpus, {"q": {"d": 1, "b": 0}})
    assert dict(rank_documents(not_relevant, QUERY, vectors, similarity=COSINE)) == {"q": ["c", "d"]}
    assert mean_metrics(not_relevant, QUERY, vectors)["MRR@10"] == pytest.approx(1 / 2)
    relevant = Collection({"q": "same"}, corpus, {"q": {"d": 1, "b": 1}})
    assert dict(rank_documents(relevant, QUERY, vectors, similarity=COSINE)) == {"q": ["b", "c", "d"]}


def test_the_document_with_the_querys_id_is_left_out_as_in_beir():
    collection = Collection({"b": "one"}, {"a": "x", "b": "y", "c": "z"}, {"b": {"b": 1, "c": 1}})
    assert dict(rank_documents(collection, QUERY, ordered(3), similarity=COSINE)) == {"b": ["a", "c"]}
    # BEIR's EvaluateRetrieval ranks a, c: c is found in second place, b never
    assert mean_metrics(collection, QUERY, ordered(3))["MAP"] == pytest.approx((1 / 2 + 0) / 2)


def test_missing_relevant_documents_count_as_not_found():
    collection = Collection({"q": "one"}, {"a": "x", "b": "y"}, {"q": {"a": 1, "gone": 1}})
    found = mean_metrics(collection, QUERY, ordered(2))
    assert (found["Recall@10"], found["MAP"]) == (0.5, 0.5)


def test_left_out_documents_do_not_reduce_the_depth(monkeypatch):
    monkeypatch.setattr(metrics, "DEPTH", 5)
    corpus = {f"d{index}": "same" if index < 3 else f"text {index}" for index in range(20)}
    collection = Collection({"q": "same"}, corpus, {"q": {"d19": 1}})
    assert dict(rank_documents(collection, QUERY, ordered(20), similarity=COSINE)) == {
        "q": ["d3", "d4", "d5", "d6", "d7"]
    }


def test_a_query_without_search_results_has_the_value_0():
    collection = Collection({"q": "same", "r": "x"}, {"a": "same"}, {"q": {"a": 0, "gone": 1}, "r": {"a": 1}})
    found = mean_metrics(collection, np.ones((2, 2), np.float32), np.ones((1, 2), np.float32))
    assert found["MAP"] == pytest.approx(0.5)


def test_the_block_size_does_not_change_the_metrics(monkeypatch):
    generator = np.random.default_rng(1)
    collection = build_collection(60, *({int(index): 1} for index in generator.integers(0, 60, 23)))
    query_QH, corpus_DH = generator.standard_normal((23, 8), np.float32), generator.standard_normal((60, 8), np.float32)
    expected = metrics_per_query(collection, query_QH, corpus_DH, similarity=COSINE)
    monkeypatch.setattr(metrics, "QUERIES_PER_BLOCK", 5)
    assert metrics_per_query(collection, query_QH, corpus_DH, similarity=COSINE) == expected
    scores = query_QH.astype(np.float64) @ corpus_DH.T.astype(np.float64)
    relevant = [int(document[1:]) for grades in collection.qrels.values() for document in grades]
    expected_map = {f"q{row}": 1 / (1 + (scores[row] > scores[row, index]).sum()) for row, index in enumerate(relevant)}
    assert expected["MAP"] == pytest.approx(expected_map)


def test_a_vector_with_nan_is_an_error():
    corpus_DH = np.where(np.arange(10).reshape(5, 2) == 7, np.nan, 1).astype(np.float32)
    with pytest.raises(ModelError, match=r"embedding of document 3 .* contains NaN or infinity"):
        mean_metrics(build_collection(5, {0: 1}), QUERY, corpus_DH)


def test_the_error_for_an_unknown_metric_lists_all_metrics():
    for name in METRICS:
        check_metric(name)
    with pytest.raises(ConfigError, match=r"--metric ndcg: no such metric") as error:
        check_metric("ndcg")
    assert all(name in error.value.hint for name in METRICS)
    check_metric("MAP dim 64", (32, 64))
    with pytest.raises(ConfigError) as error:
        check_metric("MAP dim 64", (32,))
    assert "'nDCG@10 dim 32'" in error.value.hint


class LetterCounts:
    """A model whose embeddings are counts of letters, and which records the texts per prompt."""

    dimension = 26
    device = "cpu"
    similarity = COSINE

    def __init__(self):
        self.prompts: dict[str, list[str]] = {}

    def prompt_for(self, kind: str) -> str:
        return "z" if kind == "query" else ""

    def encode(self, texts, *, prompt, kind, dim=None, show_progress=False):
        self.prompts.setdefault(prompt, []).extend(texts)
        vectors = np.array(
            [[(prompt + text).count(chr(97 + index)) for index in range(26)] for text in texts], np.float32
        )
        return vectors[:, : dim or 26]


LETTERS = Collection(
    {"q": "ab", "r": "cc"}, {"1": "abab", "2": "c", "3": "abcxyz"}, {"q": {"1": 1}, "r": {"2": 1}}, {"r": "y"}
)


def test_texts_are_encoded_with_prompts_and_compared_by_cosine():
    model = LetterCounts()
    assert means(evaluate_embedder(model, LETTERS))["Recall@1"] == 1.0
    assert model.prompts == {"z": ["ab"], "y": ["cc"], "": ["abab", "c", "abcxyz"]}


def test_given_prompts_replace_the_models_prompts_but_not_those_of_queries():
    model = LetterCounts()
    evaluate_embedder(model, LETTERS, query_prompt="", passage_prompt="k")
    assert model.prompts == {"": ["ab"], "y": ["cc"], "k": ["abab", "c", "abcxyz"]}


def test_dim_uses_the_leading_dimensions_only():
    assert means(evaluate_embedder(LetterCounts(), LETTERS, dim=2))["Recall@1"] == 0.5


def test_training_and_eval_encode_the_same_query_texts(tiny_model):
    """One query has its own prompt, and the model has a prompt."""
    from embedctl.model.embedder import Embedder
    from embedctl.search.vectors import query_vectors
    from embedctl.tokens.text_settings import TextSettings

    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    embedder.set_prompts("find: ", None)
    queries, prompts = list(LETTERS.queries.values()), [LETTERS.prompts.get(key) for key in LETTERS.queries]
    settings = TextSettings(32, 32, embedder.prompt_for("query"))
    expected = embedder.encode([settings.query(*pair) for pair in zip(queries, prompts, strict=True)], prompt="")
    np.testing.assert_allclose(query_vectors(embedder, queries, prompts), expected, atol=1e-6)

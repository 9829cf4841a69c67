"""Metrics against values worked by hand, and rankings against plain sorting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embedctl.errors import ConfigError, ModelError
from embedctl.evaluation import metrics
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.metrics import means, measure_embedder, per_query, ranking
from embedctl.evaluation.names import METRICS, expect_metric


def ordered(count: int) -> np.ndarray:
    """Vectors of documents that a query (1, 0) finds in their order."""
    return np.stack([np.linspace(1, 0.1, count), np.ones(count)], axis=1).astype(np.float32)


def collection(count: int, *answers: dict[int, int]) -> Collection:
    """`count` documents; the grades of each query by place."""
    return Collection(
        {f"q{number}": f"query {number}" for number in range(len(answers))},
        {f"d{place}": f"text {place}" for place in range(count)},
        {
            f"q{number}": {f"d{place}": grade for place, grade in judged.items()}
            for number, judged in enumerate(answers)
        },
    )


QUERY = np.array([[1, 0]], dtype=np.float32)


def evaluated(one: Collection, query_QH: np.ndarray, corpus_DH: np.ndarray) -> dict[str, float]:
    return means(per_query(one, query_QH, corpus_DH))


def test_two_answers_at_ranks_2_and_4():
    found = evaluated(collection(200, {1: 1, 3: 1}), QUERY, ordered(200))
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


def test_answers_below_the_cut_offs():
    found = evaluated(collection(200, {10: 1, 99: 1, 100: 1, 0: 0}), QUERY, ordered(200))
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
    found = evaluated(collection(20, {0: 1, 2: 3}), QUERY, ordered(20))
    assert found["nDCG@10"] == pytest.approx((1 + 3 / 2) / (3 + 1 / math.log2(3)))


def test_the_mean_is_over_all_queries_and_single_values_keep_their_ids():
    one = collection(20, {0: 1}, {4: 1})
    query_QH = np.repeat(QUERY, 2, axis=0)
    assert per_query(one, query_QH, ordered(20))["MRR@10"] == {"q0": 1.0, "q1": 0.2}
    assert evaluated(one, query_QH, ordered(20))["MRR@10"] == pytest.approx(0.6)


def test_equal_scores_stand_in_the_order_of_the_corpus():
    same = np.ones((30, 2), dtype=np.float32)
    ranked = dict(ranking(collection(30, {11: 1}), QUERY, same))
    assert ranked["q0"] == [f"d{place}" for place in range(30)]
    assert evaluated(collection(30, {11: 1}), QUERY, same)["MAP"] == pytest.approx(1 / 12)


def test_the_querys_own_text_is_left_out_unless_it_answers():
    corpus = {"a": "same", "b": "same", "c": "other", "d": "answer"}
    vectors = ordered(4)
    left_out = Collection({"q": "same"}, corpus, {"q": {"d": 1, "b": 0}})
    assert dict(ranking(left_out, QUERY, vectors)) == {"q": ["c", "d"]}
    assert evaluated(left_out, QUERY, vectors)["MRR@10"] == pytest.approx(1 / 2)
    judged = Collection({"q": "same"}, corpus, {"q": {"d": 1, "b": 1}})
    assert dict(ranking(judged, QUERY, vectors)) == {"q": ["b", "c", "d"]}


def test_a_ranking_is_as_deep_beside_copies_of_the_query(monkeypatch):
    monkeypatch.setattr(metrics, "DEPTH", 5)
    corpus = {f"d{place}": "same" if place < 3 else f"text {place}" for place in range(20)}
    whole = Collection({"q": "same"}, corpus, {"q": {"d19": 1}})
    assert dict(ranking(whole, QUERY, ordered(20))) == {"q": ["d3", "d4", "d5", "d6", "d7"]}


def test_a_query_that_can_find_nothing_counts_as_0():
    alone = Collection({"q": "same", "r": "x"}, {"a": "same"}, {"q": {"a": 0, "gone": 1}, "r": {"a": 1}})
    assert evaluated(alone, np.ones((2, 2), np.float32), np.ones((1, 2), np.float32))["MAP"] == pytest.approx(0.5)


def test_blocks_of_queries_change_nothing(monkeypatch):
    draw = np.random.default_rng(1)
    whole = collection(60, *({int(place): 1} for place in draw.integers(0, 60, 23)))
    query_QH, corpus_DH = draw.standard_normal((23, 8), np.float32), draw.standard_normal((60, 8), np.float32)
    expected = per_query(whole, query_QH, corpus_DH)
    monkeypatch.setattr(metrics, "QUERIES_AT_A_TIME", 5)
    assert per_query(whole, query_QH, corpus_DH) == expected
    scores = query_QH.astype(np.float64) @ corpus_DH.T.astype(np.float64)
    places = [int(document[1:]) for judged in whole.qrels.values() for document in judged]
    by_hand = {f"q{row}": 1 / (1 + (scores[row] > scores[row, place]).sum()) for row, place in enumerate(places)}
    assert expected["MAP"] == pytest.approx(by_hand)


def test_vectors_that_are_not_finite_are_no_zeros():
    with pytest.raises(ModelError, match="vector of document 3 is not finite"):
        evaluated(
            collection(5, {0: 1}), QUERY, np.where(np.arange(10).reshape(5, 2) == 7, np.nan, 1).astype(np.float32)
        )


def test_an_unknown_metric_is_told_the_known_ones():
    for name in METRICS:
        expect_metric(name)
    with pytest.raises(ConfigError, match=r"--metric ndcg: no such metric") as wrong:
        expect_metric("ndcg")
    assert all(name in wrong.value.hint for name in METRICS)
    expect_metric("MAP dim 64", (32, 64))
    with pytest.raises(ConfigError) as wrong:
        expect_metric("MAP dim 64", (32,))
    assert "'nDCG@10 dim 32'" in wrong.value.hint


class Letters:
    """A model that counts letters, and notes what it was asked."""

    dimension = 26
    device = "cpu"

    def __init__(self):
        self.prompts: dict[str, list[str]] = {}

    def prompt_for(self, kind: str) -> str:
        return "z" if kind == "query" else ""

    def encode(self, texts, *, prompt, dim=None, show_progress=False):
        self.prompts.setdefault(prompt, []).extend(texts)
        vectors = np.array(
            [[(prompt + text).count(chr(97 + place)) for place in range(26)] for text in texts], np.float32
        )
        return vectors[:, : dim or 26]


LETTERS = Collection(
    {"q": "ab", "r": "cc"}, {"1": "abab", "2": "c", "3": "abcxyz"}, {"q": {"1": 1}, "r": {"2": 1}}, {"r": "y"}
)


def test_an_embedder_is_given_prompts_and_compared_by_cosine():
    model = Letters()
    assert means(measure_embedder(model, LETTERS))["Recall@1"] == 1.0
    assert model.prompts == {"z": ["ab"], "y": ["cc"], "": ["abab", "c", "abcxyz"]}


def test_prompts_given_replace_the_models_but_not_the_querys_own():
    model = Letters()
    measure_embedder(model, LETTERS, query_prompt="", passage_prompt="k")
    assert model.prompts == {"": ["ab"], "y": ["cc"], "k": ["abab", "c", "abcxyz"]}


def test_leading_dimensions_only():
    assert means(measure_embedder(Letters(), LETTERS, dim=2))["Recall@1"] == 0.5


def test_training_and_eval_see_the_same_queries(tiny_model):
    """A row with a prompt of its own, a model with one: both ways to the vectors agree."""
    from embedctl.model.embedder import Embedder
    from embedctl.search.vectors import query_vectors

    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    embedder.set_prompts("find: ", None)
    queries, own = list(LETTERS.queries.values()), [LETTERS.prompts.get(key) for key in LETTERS.queries]
    as_trained = embedder.encode(LETTERS.prompted(embedder.prompt_for("query")), prompt="")
    np.testing.assert_allclose(query_vectors(embedder, queries, own), as_trained, atol=1e-6)

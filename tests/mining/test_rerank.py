"""A cross-encoder scores candidates again: its scores are sentence-transformers' own, kept, and its limits decide."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from embedctl.data.rows import Row
from embedctl.errors import ModelError
from embedctl.mining.cache import ArrayCache
from embedctl.mining.candidates import Choice, Limits, Mined
from embedctl.mining.miner import Miner, Sieve, relaxed
from embedctl.mining.pool import gather
from embedctl.mining.rerank import Reranker, load_cross_encoder
from embedctl.search.exact import exact

TEXTS = [f"river stone {word}" for word in ("alpha", "beta", "gamma", "delta", "cloud", "engine", "market", "theory")]
ANY = Limits()


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("cross") / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, initializer_range=0.5, **sizes)
    BertForSequenceClassification(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def reranker(folder, tmp_path):
    data = gather([Row(query, (TEXTS[0], TEXTS[1])) for query in ("violin", "castle")], TEXTS, keep_negatives=False)
    return Reranker(load_cross_encoder(folder, "cpu"), data, Limits(), "hardest", ArrayCache(tmp_path), 3)


def test_scores_are_those_of_each_pair_alone_and_are_kept(reranker, folder, monkeypatch):
    ids = [np.array([2, 5]), np.array([], dtype=np.int64), np.array([7])]
    plain = CrossEncoder(folder, device="cpu")
    pairs = [("violin", TEXTS[2]), ("violin", TEXTS[5]), ("castle", TEXTS[7])]
    expected = [float(plain.predict([pair], show_progress_bar=False)[0]) for pair in pairs]
    for _ in range(2):
        found = reranker.scores([0, 0, 1], ids)
        assert list(map(len, found)) == [2, 0, 1]
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
        monkeypatch.setattr(reranker.model, "predict", lambda *_, **__: pytest.fail("scored again"))


def mined(reranker, choice: Choice, limits: Limits = ANY, **options) -> Mined:
    """Of row 0; the model's scores fall from the first text to the last."""
    finder = exact(np.ones((1, 1), np.float32), np.linspace(1, 0.1, 8, dtype=np.float32)[:, None])
    miner = Miner(Sieve({}, limits, np.ones(1, np.float32)), choice, 0, reranker, **options)
    (found,) = miner.mine(range(1), finder)
    return found


def test_its_limits_reject_and_its_scores_are_given(reranker):
    scores = reranker.scores([0], [np.arange(8)])[0]
    reranker.limits = Limits(max_score=float(np.median(scores[2:])))
    found = mined(reranker, Choice(0, 8, 8, "top", 0))
    expected = np.flatnonzero(scores <= reranker.limits.max_score)
    assert found.negatives.ids.tolist() == expected.tolist()
    np.testing.assert_allclose(found.negatives.scores, scores[expected], atol=1e-6)
    assert found.candidates.rejected["rerank max score"] == 8 - len(expected)
    assert found.negatives.reference == pytest.approx(float(scores[:2].min()), abs=1e-6)


def test_what_the_limits_reject_is_scored_only_where_it_fills_a_row(reranker):
    scores = reranker.scores([0], [np.arange(8)])[0]
    found = mined(reranker, Choice(0, 4, 4, "top", 0), Limits(min_score=0.8), filler=relaxed)
    assert np.isnan(found.candidates.rerank_scores).tolist() == [False, False, True, True]
    assert found.filled == 2
    np.testing.assert_allclose(found.negatives.scores, scores[:4], atol=1e-6)


def test_what_is_no_cross_encoder_is_said(tmp_path):
    with pytest.raises(ModelError, match=r"--rerank-with .*can't be loaded"):
        load_cross_encoder(str(tmp_path), "cpu")

"""Reranker: its scores equal those of sentence-transformers and are cached, and its limits reject candidates."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from embedctl.data.passages import Passage
from embedctl.data.rows import Row
from embedctl.errors import ModelError
from embedctl.mining.cache import ArrayCache
from embedctl.mining.candidates import Limits, MinedRow, Selection
from embedctl.mining.data import collect_data
from embedctl.mining.miner import CandidateFilter, Miner, fill_relaxed
from embedctl.mining.rerank import Reranker, load_cross_encoder
from embedctl.model.similarity import DOT
from embedctl.search.exact import exact_searcher

TEXTS = [f"river stone {word}" for word in ("alpha", "beta", "gamma", "delta", "cloud", "engine", "market", "theory")]
NO_LIMITS = Limits()


@pytest.fixture(scope="module")
def cross_encoder(tiny_model, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("cross") / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, initializer_range=0.5, **sizes)
    BertForSequenceClassification(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def reranker(cross_encoder, tmp_path):
    data = collect_data(
        [Row(query, (TEXTS[0], TEXTS[1])) for query in ("violin", "castle")], map(Passage, TEXTS), keep_negatives=False
    )
    return Reranker(load_cross_encoder(cross_encoder, "cpu"), data, Limits(), "hardest", ArrayCache(tmp_path), 3)


def test_scores_equal_those_of_single_pairs_and_are_cached(reranker, cross_encoder, monkeypatch):
    ids = [np.array([2, 5]), np.array([], dtype=np.int64), np.array([7])]
    reference = CrossEncoder(cross_encoder, device="cpu")
    pairs = [("violin", TEXTS[2]), ("violin", TEXTS[5]), ("castle", TEXTS[7])]
    expected = [float(reference.predict([pair], show_progress_bar=False)[0]) for pair in pairs]
    for _ in range(2):
        found = reranker.scores([0, 0, 1], ids)
        assert list(map(len, found)) == [2, 0, 1]
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
        monkeypatch.setattr(reranker.model, "predict", lambda *_, **__: pytest.fail("scored again"))


def mine(reranker, selection: Selection, limits: Limits = NO_LIMITS, **options) -> MinedRow:
    """Mine row 0. The similarities decrease from the first text to the last."""
    corpus = np.linspace(1, 0.1, 8, dtype=np.float32)[:, None]
    searcher = exact_searcher(np.ones((1, 1), np.float32), corpus, similarity=DOT)
    miner = Miner(CandidateFilter({}, limits, np.ones(1, np.float32)), selection, 0, reranker, **options)
    (mined,) = miner.mine(range(1), searcher)
    return mined


def test_limits_of_the_reranker_reject_candidates_and_its_scores_are_returned(reranker):
    scores = reranker.scores([0], [np.arange(8)])[0]
    reranker.limits = Limits(max_score=float(np.median(scores[2:])))
    mined = mine(reranker, Selection(0, 8, 8, "top", 0))
    expected = np.flatnonzero(scores <= reranker.limits.max_score)
    assert mined.negatives.ids.tolist() == expected.tolist()
    np.testing.assert_allclose(mined.negatives.scores, scores[expected], atol=1e-6)
    assert mined.candidates.rejected["rerank max score"] == 8 - len(expected)
    assert mined.negatives.reference == pytest.approx(float(scores[:2].min()), abs=1e-6)


def test_candidates_rejected_by_the_model_limits_are_scored_only_if_fill_adds_them(reranker):
    scores = reranker.scores([0], [np.arange(8)])[0]
    mined = mine(reranker, Selection(0, 4, 4, "top", 0), Limits(min_score=0.8), fill=fill_relaxed)
    assert np.isnan(mined.candidates.rerank_scores).tolist() == [False, False, True, True]
    assert mined.filled == 2
    np.testing.assert_allclose(mined.negatives.scores, scores[:4], atol=1e-6)


def test_a_folder_without_a_cross_encoder_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"--rerank-with .*: the folder contains no model"):
        load_cross_encoder(str(tmp_path), "cpu")

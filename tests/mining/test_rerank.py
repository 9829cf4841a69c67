"""A cross-encoder as judge: its scores are sentence-transformers' own, kept, and its limits decide."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from embedctl.data.rows import Row
from embedctl.errors import ModelError
from embedctl.mining.cache import ArrayCache
from embedctl.mining.candidates import Choice
from embedctl.mining.filters import Limits
from embedctl.mining.miner import Miner
from embedctl.mining.pool import Pool, Rows
from embedctl.mining.rerank import CrossJudge, load_cross_encoder
from embedctl.search.finder import exact

TEXTS = [f"river stone {word}" for word in ("alpha", "beta", "gamma", "delta", "cloud", "engine", "market", "theory")]


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
def judge(folder, tmp_path):
    rows, pool = Rows([]), Pool()
    for query in ("violin", "castle"):
        rows.add(Row(query, (TEXTS[0], TEXTS[1])))
    pool.add(TEXTS)
    model = load_cross_encoder(folder, "cpu")
    return CrossJudge(model, rows, pool, Limits(), "hardest", ArrayCache(tmp_path), 3)


def test_scores_are_those_of_each_pair_alone_and_are_kept(judge, folder, monkeypatch):
    ids = [np.array([2, 5]), np.array([], dtype=np.int64), np.array([7])]
    plain = CrossEncoder(folder, device="cpu")
    pairs = [("violin", TEXTS[2]), ("violin", TEXTS[5]), ("castle", TEXTS[7])]
    expected = [float(plain.predict([pair], show_progress_bar=False)[0]) for pair in pairs]
    for _ in range(2):
        found = judge.scores([0, 0, 1], ids)
        assert list(map(len, found)) == [2, 0, 1]
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
        monkeypatch.setattr(judge.model, "predict", lambda *_, **__: pytest.fail("scored again"))


def test_its_limits_reject_and_its_scores_are_given(judge):
    scores = judge.scores([0], [np.arange(8)])[0]
    judge.limits = Limits(max_score=float(np.median(scores[2:])))
    miner = Miner({}, Choice(0, 8, 8, "top", 0), 0, judge=judge)
    (mined,) = miner.mine(
        range(1), exact(np.ones((1, 1), np.float32), np.linspace(1, 0.1, 8, dtype=np.float32)[:, None])
    )
    expected = np.flatnonzero(scores <= judge.limits.max_score)
    assert mined.ids.tolist() == expected.tolist()
    np.testing.assert_allclose(mined.scores, scores[expected], atol=1e-6)
    assert miner.counts["rejected: rerank max score"] == 8 - len(expected)
    assert mined.reference == pytest.approx(float(scores[:2].min()), abs=1e-6)


def test_what_is_no_cross_encoder_is_said(tmp_path):
    with pytest.raises(ModelError, match=r"--rerank-with .*can't be loaded"):
        load_cross_encoder(str(tmp_path), "cpu")

"""A mining job called from Python: its output files and its counts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedctl.data.passages import Passage
from embedctl.data.rows import Row
from embedctl.errors import ConfigError, DataError
from embedctl.mining.candidates import Limits, Selection
from embedctl.mining.data import collect_data
from embedctl.mining.job import MiningJob
from embedctl.mining.run import EncodedData, mine
from embedctl.model.similarity import DOT
from tests.conftest import SIMILARITIES, save_stating, sentence


@pytest.fixture
def job(tiny_model, tmp_path) -> MiningJob:
    rows = [{"query": sentence(row), "pos": [sentence(100 + row)]} for row in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return MiningJob(
        model=tiny_model,
        trust_remote_code=False,
        device="cpu",
        files=(str(tmp_path / "rows.jsonl"),),
        corpus=None,
        query_prompt=None,
        passage_prompt=None,
        cache=None,
        ann=None,
        also=None,
        selection=Selection(0, 5, 3, "top", seed=0),
        limits=Limits(),
        positive_score="hardest",
        filter_options={},
        rerank_with=None,
        rerank_limits=Limits(),
        rerank_batch_size=8,
        fill="fewer",
        keep_negatives=False,
        scores=False,
        output=tmp_path / "mined.jsonl",
        report=None,
    )


def test_output_files_and_counts(job, tmp_path):
    result = mine(job)
    rows = [json.loads(line) for line in job.output.read_text().splitlines()]
    assert (result.rows, result.corpus, result.negatives, result.short_rows, result.short_file) == (8, 8, 24, 0, None)
    assert all(len(row["neg"]) == 3 and not {*row["pos"]} & {*row["neg"]} for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mined.jsonl", "rows.jsonl"]


@pytest.mark.parametrize(("fill", "filled"), [("fewer", 0), ("relax", 24), ("random", 24)])
def test_fill_adds_negatives_to_rows_with_too_few(job, fill, filled):
    result = mine(replace(job, limits=Limits(min_score=2.0), fill=fill))
    assert result.filled == result.negatives == filled
    assert (result.short_rows, result.short_file is None) == ((0, True) if filled else (8, False))


def test_an_empty_corpus_is_an_error(job, tmp_path):
    (tmp_path / "corpus.txt").write_text("\n")
    with pytest.raises(DataError, match=r"corpus\.txt: the file contains no passages"):
        mine(replace(job, corpus=str(tmp_path / "corpus.txt")))


def test_scores_are_inner_products_and_the_corpus_is_the_first_part_of_the_texts():
    data = collect_data([Row("q", ("a",)), Row("r", ("b", "x"))], map(Passage, ["x", "y"]), keep_negatives=False)
    generator = np.random.default_rng(0)
    encoded = EncodedData(data, generator.random((2, 3), np.float32), generator.random((4, 3), np.float32), DOT, "cpu")
    first, second = encoded.scores([1, 0], [np.array([3, 0]), np.array([], dtype=np.int64)])
    np.testing.assert_allclose(first, encoded.text_PH[[3, 0]] @ encoded.query_QH[1], rtol=1e-6)
    assert second.shape == (0,)
    np.testing.assert_array_equal(encoded.corpus, encoded.text_PH[:2])


@pytest.mark.parametrize("ann", [None, "ivf"])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_negatives_limits_and_scores_follow_the_similarity_function_of_the_model(job, name, ann, tiny_model, tmp_path):
    model = SentenceTransformer(save_stating(tiny_model, tmp_path / name, name), device="cpu")
    queries, passages = [sentence(row) for row in range(8)], [sentence(100 + row) for row in range(8)]
    scores = model.similarity(model.encode(queries), model.encode(passages)).numpy()
    differences = np.sort((np.diag(scores)[:, None] - scores)[~np.eye(8, dtype=bool)])
    margin = float(differences[27:29].mean())  # half of the 56 pairs are allowed
    expected = []
    for row, own in enumerate(scores):
        allowed = [text for text in np.argsort(-own) if text != row and own[text] <= own[row] - margin]
        expected.append([passages[text] for text in allowed[:3]])
    every = Selection(0, 8, 3, "top", seed=0)
    settings = {"model": str(tmp_path / name), "limits": Limits(margin=margin), "selection": every, "ann": ann}
    result = mine(replace(job, **settings))
    rows = [json.loads(line) for line in job.output.read_text().splitlines()]
    assert [row.get("neg", []) for row in rows] == expected
    assert 0 < result.negatives < 24


@pytest.mark.parametrize("name", SIMILARITIES)
def test_only_cosine_similarities_are_written_as_teacher_scores(job, name, tiny_model, tmp_path):
    job = replace(job, scores=True, model=save_stating(tiny_model, tmp_path / name, name))
    if name != "cosine":
        with pytest.raises(ConfigError, match=rf"--scores: .*, {name}, has no fixed scale") as refused:
            mine(job)
        assert refused.value.hint.startswith("use --rerank-with MODEL")
        return
    assert mine(job).scored_rows == 8
    model = SentenceTransformer(job.model, device="cpu")
    for row in map(json.loads, job.output.read_text().splitlines()):
        expected = model.similarity(model.encode([row["query"]]), model.encode([*row["pos"], *row["neg"]]))[0]
        np.testing.assert_allclose([*row["pos_scores"], *row["neg_scores"]], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_random_negatives_pass_the_limits_of_the_similarity_function(job, name, tiny_model, tmp_path):
    model = SentenceTransformer(save_stating(tiny_model, tmp_path / name, name), device="cpu")
    queries, passages = [sentence(row) for row in range(8)], [sentence(100 + row) for row in range(8)]
    scores = model.similarity(model.encode(queries), model.encode(passages)).numpy()
    limit = float(np.median(scores))
    limits = Limits(max_score=limit, min_score=float(scores.max()) + 1)
    mine(replace(job, model=str(tmp_path / name), limits=limits, fill="random"))
    for row, own in zip(map(json.loads, job.output.read_text().splitlines()), scores, strict=True):
        assert all(own[passages.index(text)] <= limit + 1e-4 for text in row.get("neg", []))

"""Mining in a token store returns for every row what sorting all passages by their scores returns."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from transformers import AutoTokenizer

from embedctl.data.build import open_or_build
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, TrainingData
from embedctl.errors import TrainingError
from embedctl.mining.candidates import Limits, Selection
from embedctl.mining.store_miner import StoreMiner, token_hashes
from embedctl.model.similarity import COSINE
from embedctl.reading.hashes import text_hash
from embedctl.tokens.text_settings import TextSettings

WORDS = ["alpha", "beta", "gamma", "delta", "river", "stone", "cloud", "engine"]
NUMBER = 4


def generate_rows() -> list[dict[str, object]]:
    """Return rows of all kinds that share texts; some queries are passages, some passages differ in case only."""
    generator = np.random.default_rng(3)
    texts = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(2, 7, 40)]
    texts += [text.upper() for text in texts[:10]]
    rows: list[dict[str, object]] = []
    for number in range(30):
        pos = [texts[index] for index in generator.choice(50, 1 + number % 3, replace=False)]
        row: dict[str, object] = {"query": texts[number % 11], "pos": pos}
        if number % 4:
            row["neg"] = [texts[index] for index in generator.integers(0, 50, 3)]
        if number % 7 == 0:
            row["prompt"] = "ask: "
        if number % 9 == 8:
            row = {"query": row["query"], "pos": pos, "scores": [1.0] * len(pos)}
        elif number % 9 == 7:
            row |= {"neg": texts[:2], "pos_scores": [1.0] * len(pos), "neg_scores": [0.0, 0.5]}
        rows.append(row)
    return rows


ROWS = generate_rows()


@pytest.fixture(scope="module")
def data(tiny_model, tmp_path_factory) -> TrainingData:
    folder = tmp_path_factory.mktemp("store")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    settings = TextSettings(32, 32, "query: ", "passage: ")
    return open_or_build(
        [str(folder / "rows.jsonl")], AutoTokenizer.from_pretrained(tiny_model), settings, folder / "s"
    )


@pytest.fixture(scope="module")
def vectors(data) -> np.ndarray:
    """Return a different unit vector (H,) per text id."""
    vectors = np.random.default_rng(1).standard_normal((len(data.texts), 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def text_id(data: TrainingData, role: str, text: str) -> int:
    return int(np.searchsorted(data.texts.hashes, np.uint64(text_hash(f"{role}\0{text}"))))


def expected(data: TrainingData, vectors: np.ndarray, row: dict[str, object], margin: float | None) -> list[int]:
    """Return the most similar allowed passages of a row, from the scores of all passages."""
    all_texts = {text for other in ROWS for text in [*other["pos"], *other.get("neg", [])]}
    same = [other for other in ROWS if other["query"] == row["query"]]
    positives = {text for other in same for text in other["pos"]}
    forbidden = {text.lower() for text in positives | ({row["query"]} & all_texts)}
    prompt = row.get("prompt", "query: ")
    query = vectors[text_id(data, "q", f"{prompt}{row['query']}")]
    score = {text: float(vectors[text_id(data, "p", f"passage: {text}")] @ query) for text in all_texts}
    ungraded = {text for other in same if "scores" not in other for text in other["pos"]}
    max_score = min(score[text] for text in ungraded) - margin if margin is not None else np.inf
    allowed = [text for text in all_texts if text.lower() not in forbidden and score[text] <= max_score]
    nearest = sorted(allowed, key=lambda text: -score[text])[:NUMBER]
    return [text_id(data, "p", f"passage: {text}") for text in nearest]


def mine(data: TrainingData, vectors: np.ndarray, selection: Selection, margin: float | None = None) -> tuple:
    """Mine two parts of the queries separately, as two processes do."""
    miner = StoreMiner.from_data(data)
    mined_vectors = vectors[miner.query_id_Q], vectors[miner.passage_id_P]
    middle = len(miner.query_id_Q) // 3
    parts = [range(middle), range(middle, len(miner.query_id_Q))]
    found = [miner.mine(part, mined_vectors, selection, Limits(margin=margin), "cpu", COSINE) for part in parts]
    ids, above_positive = (np.concatenate(piece) for piece in zip(*found, strict=True))
    return miner, ids, above_positive


@pytest.mark.parametrize("stop", [NUMBER, 1000])
@pytest.mark.parametrize("margin", [None, -0.5, 0.3])
def test_every_row_receives_the_most_similar_passages_except_positives(margin, stop, data, vectors):
    miner, ids, above_positive = mine(data, vectors, Selection(0, stop, NUMBER, "top", 0), margin)
    short_rows = 0
    for number, row in enumerate(ROWS):
        query = miner.query_index_R[number]
        assert (query == -1) == ("scores" in row or "pos_scores" in row)
        if query >= 0:
            nearest = expected(data, vectors, row, margin)
            assert ids[query][ids[query] >= 0].tolist() == nearest
            assert np.isfinite(above_positive[query]).sum() == len(nearest)
            short_rows += len(nearest) < NUMBER
            if margin is not None:
                assert np.nanmax(above_positive[query], initial=-9) <= -margin + 1e-6
    assert (short_rows > 0) == (margin is not None)


def test_the_generated_rows_contain_every_case(data):
    queries, passages = {row["query"] for row in ROWS}, {text for row in ROWS for text in row["pos"]}
    assert queries & passages
    assert passages & {text.upper() for text in passages} != passages
    assert len({row.get("prompt") for row in ROWS if row["query"] == ROWS[0]["query"]}) == 2
    assert {kind: bool(count) for kind, count in data.facts["kinds"].items()} == dict.fromkeys(
        ("in-batch", "hard-negatives", "graded", "teacher"), True
    )


def test_a_store_of_rows_with_scores_only_is_an_error(data):
    graded = replace(data.rows, kind=np.full_like(data.rows.kind, KINDS.index(RowKind.GRADED)))
    with pytest.raises(TrainingError, match="every row has grades or teacher scores"):
        StoreMiner.from_data(replace(data, rows=graded))


def test_random_sampling_stays_in_the_range_and_depends_on_the_seed(data, vectors):
    in_order = mine(data, vectors, Selection(0, 12, 12, "top", 0))[1]
    first, again, other = (mine(data, vectors, Selection(2, 12, NUMBER, "random", seed))[1] for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()
    for nearest, selected in zip(in_order, first, strict=True):
        assert set(selected) <= set(nearest[2:])


def test_texts_have_equal_token_hashes_only_if_their_tokens_are_equal(data):
    tokens = [tuple(data.texts.tokens_of(np.array([index])).ids.tolist()) for index in range(len(data.texts))]
    hashes = token_hashes(data.texts).tolist()
    assert len(set(tokens)) < len(tokens)
    assert len(set(hashes)) == len(set(tokens)) == len(set(zip(hashes, tokens, strict=True)))


def test_mined_negatives_replace_those_of_the_rows_and_nothing_else(data):
    rows = data.rows
    miner = StoreMiner.from_data(data)
    mined = np.full((len(miner.query_id_Q), 2), -1)
    mined[::2, 0], mined[::4, 1] = miner.passage_id_P[0], miner.passage_id_P[1]
    updated = rows.with_negatives(mined, miner.query_index_R)
    for number in range(len(rows)):
        start, end, head = rows.bounds[number], rows.bounds[number + 1], 1 + rows.pos_count[number]
        found = slice(updated.bounds[number], updated.bounds[number + 1])
        line = mined[miner.query_index_R[number]] if miner.query_index_R[number] >= 0 else mined[:0].ravel()
        new = line[line >= 0].tolist()
        if new:
            assert updated.text_ids[found].tolist() == [*rows.text_ids[start : start + head], *new]
            assert np.isnan(updated.score[found][head:]).all()
        else:
            assert updated.text_ids[found].tolist() == rows.text_ids[start:end].tolist()
            np.testing.assert_array_equal(updated.score[found], rows.score[start:end])
    assert updated.kind is rows.kind
    assert 0 < sum(miner.query_index_R % 2 == 0) < len(rows)

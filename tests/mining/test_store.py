"""Mining over a store gives, for every row, what sorting the texts by hand gives."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from transformers import AutoTokenizer

from embedctl.data.build import Recipe, open_or_build
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, TrainingData
from embedctl.errors import TrainingError
from embedctl.mining.candidates import Choice, Limits
from embedctl.mining.store import StoreMiner, token_hashes
from embedctl.reading.hashes import text_hash

WORDS = ["alpha", "beta", "gamma", "delta", "river", "stone", "cloud", "engine"]
NUMBER = 4


def made_up() -> list[dict[str, object]]:
    """Rows of all kinds that share queries and texts; some queries are passages, some passages differ in case only."""
    draw = np.random.default_rng(3)
    texts = [" ".join(draw.choice(WORDS, size)) for size in draw.integers(2, 7, 40)]
    texts += [text.upper() for text in texts[:10]]
    rows: list[dict[str, object]] = []
    for number in range(30):
        pos = [texts[place] for place in draw.choice(50, 1 + number % 3, replace=False)]
        row: dict[str, object] = {"query": texts[number % 11], "pos": pos}
        if number % 4:
            row["neg"] = [texts[place] for place in draw.integers(0, 50, 3)]
        if number % 7 == 0:
            row["prompt"] = "ask: "
        if number % 9 == 8:
            row = {"query": row["query"], "pos": pos, "scores": [1.0] * len(pos)}
        elif number % 9 == 7:
            row |= {"neg": texts[:2], "pos_scores": [1.0] * len(pos), "neg_scores": [0.0, 0.5]}
        rows.append(row)
    return rows


ROWS = made_up()


@pytest.fixture(scope="module")
def data(tiny_model, tmp_path_factory) -> TrainingData:
    folder = tmp_path_factory.mktemp("store")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    recipe = Recipe(32, 32, "query: ", "passage: ")
    return open_or_build([str(folder / "rows.jsonl")], AutoTokenizer.from_pretrained(tiny_model), recipe, folder / "s")


@pytest.fixture(scope="module")
def vectors(data) -> np.ndarray:
    """A vector for each text id, the same for none."""
    found = np.random.default_rng(1).standard_normal((len(data.texts), 6)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def text_id(data: TrainingData, role: str, text: str) -> int:
    return int(np.searchsorted(data.texts.hashes, np.uint64(text_hash(f"{role}\0{text}"))))


def expected(data: TrainingData, vectors: np.ndarray, row: dict[str, object], margin: float | None) -> list[int]:
    """The nearest allowed passages of a row, by going through all of them."""
    all_texts = {text for other in ROWS for text in [*other["pos"], *other.get("neg", [])]}
    same = [other for other in ROWS if other["query"] == row["query"]]
    answers = {text for other in same for text in other["pos"]}
    forbidden = {text.lower() for text in answers | ({row["query"]} & all_texts)}
    prompt = row.get("prompt", "query: ")
    query = vectors[text_id(data, "q", f"{prompt}{row['query']}")]
    score = {text: float(vectors[text_id(data, "p", f"passage: {text}")] @ query) for text in all_texts}
    ungraded = {text for other in same if "scores" not in other for text in other["pos"]}
    ceiling = min(score[text] for text in ungraded) - margin if margin is not None else np.inf
    allowed = [text for text in all_texts if text.lower() not in forbidden and score[text] <= ceiling]
    nearest = sorted(allowed, key=lambda text: -score[text])[:NUMBER]
    return [text_id(data, "p", f"passage: {text}") for text in nearest]


def mine(data: TrainingData, vectors: np.ndarray, choice: Choice, margin: float | None = None) -> tuple:
    """In two parts, as two ranks do."""
    miner = StoreMiner.of(data)
    own = vectors[miner.query_Q], vectors[miner.passage_P]
    cut = len(miner.query_Q) // 3
    parts = [range(cut), range(cut, len(miner.query_Q))]
    found = [miner.mine(part, own, choice, Limits(margin=margin), "cpu") for part in parts]
    ids, above = (np.concatenate(piece) for piece in zip(*found, strict=True))
    return miner, ids, above


@pytest.mark.parametrize("margin", [None, -0.5, 0.3])
def test_every_row_gets_the_nearest_that_are_no_answers(margin, data, vectors):
    miner, ids, above = mine(data, vectors, Choice(0, len(data.texts), NUMBER, "top", 0), margin)
    fewer = 0
    for number, row in enumerate(ROWS):
        unit = miner.query_R[number]
        assert (unit == -1) == ("scores" in row or "pos_scores" in row)
        if unit >= 0:
            wanted = expected(data, vectors, row, margin)
            assert ids[unit][ids[unit] >= 0].tolist() == wanted
            assert np.isfinite(above[unit]).sum() == len(wanted)
            fewer += len(wanted) < NUMBER
            if margin is not None:
                assert np.nanmax(above[unit], initial=-9) <= -margin + 1e-6
    assert (fewer > 0) == (margin is not None)


def test_the_data_have_what_is_claimed_of_them(data):
    queries, passages = {row["query"] for row in ROWS}, {text for row in ROWS for text in row["pos"]}
    assert queries & passages
    assert passages & {text.upper() for text in passages} != passages
    assert len({row.get("prompt") for row in ROWS if row["query"] == ROWS[0]["query"]}) == 2
    assert {kind: bool(count) for kind, count in data.facts["kinds"].items()} == dict.fromkeys(
        ("in-batch", "hard-negatives", "graded", "teacher"), True
    )


def test_rows_that_all_have_scores_are_refused(data):
    graded = replace(data.rows, kind=np.full_like(data.rows.kind, KINDS.index(RowKind.GRADED)))
    with pytest.raises(TrainingError, match="every row has scores"):
        StoreMiner.of(replace(data, rows=graded))


def test_a_random_choice_stays_in_the_range_and_follows_the_seed(data, vectors):
    wide = mine(data, vectors, Choice(0, 12, 12, "top", 0))[1]
    drawn, again, other = (mine(data, vectors, Choice(2, 12, NUMBER, "random", seed))[1] for seed in (5, 5, 6))
    assert (drawn == again).all()
    assert (drawn != other).any()
    for nearest, chosen in zip(wide, drawn, strict=True):
        assert set(chosen) <= set(nearest[2:])


def test_equal_tokens_have_equal_hashes_and_no_others(data):
    tokens = [tuple(data.texts.ragged(np.array([place])).ids.tolist()) for place in range(len(data.texts))]
    hashes = token_hashes(data.texts).tolist()
    assert len(set(tokens)) < len(tokens)
    assert len(set(hashes)) == len(set(tokens)) == len(set(zip(hashes, tokens, strict=True)))


def test_rows_take_over_negatives_and_keep_everything_else(data):
    rows = data.rows
    miner = StoreMiner.of(data)
    mined = np.full((len(miner.query_Q), 2), -1)
    mined[::2, 0], mined[::4, 1] = miner.passage_P[0], miner.passage_P[1]
    fresh = rows.with_negatives(mined, miner.query_R)
    for number in range(len(rows)):
        begin, end, head = rows.bounds[number], rows.bounds[number + 1], 1 + rows.pos_count[number]
        found = slice(fresh.bounds[number], fresh.bounds[number + 1])
        line = mined[miner.query_R[number]] if miner.query_R[number] >= 0 else mined[:0].ravel()
        new = line[line >= 0].tolist()
        if new:
            assert fresh.text[found].tolist() == [*rows.text[begin : begin + head], *new]
            assert np.isnan(fresh.score[found][head:]).all()
        else:
            assert fresh.text[found].tolist() == rows.text[begin:end].tolist()
            np.testing.assert_array_equal(fresh.score[found], rows.score[begin:end])
    assert fresh.kind is rows.kind
    assert 0 < sum(miner.query_R % 2 == 0) < len(rows)

"""The token store holds what tokenising row by row gives, each text once, and is reused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import AutoTokenizer

from embedctl.data import build
from embedctl.data.build import Recipe, open_or_build
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS
from embedctl.errors import DataError
from tests.data.stores import row_store

ROWS = [
    {"query": "river stone", "pos": ["cloud engine market", "学习"], "neg": ["violin"]},
    {"query": "river stone", "pos": ["cloud engine market"]},
    {"query": "castle", "pos": ["river stone", "harbor"], "scores": [1.0, 0.25]},
    {
        "query": "signal",
        "pos": ["a"],
        "neg": ["violin", "b"],
        "pos_scores": [3.0],
        "neg_scores": [1.0, 0.5],
        "prompt": "ask: ",
    },
]


@pytest.fixture
def files(tmp_path):
    paths = []
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        paths.append(str(tmp_path / f"{number}.jsonl"))
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


@pytest.fixture
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


RECIPE = Recipe(query_max_len=4, passage_max_len=6, query_prompt="q ", passage_prompt="p ")


def test_every_text_of_every_row_has_its_tokens(files, tokenizer, tmp_path):
    data = open_or_build(files, tokenizer, RECIPE, tmp_path / "stores")
    place = 0
    for row in ROWS:
        words = [row.get("prompt", "q ") + row["query"], *("p " + text for text in row["pos"] + row.get("neg", []))]
        for number, text in enumerate(words):
            limit = 6 if number else 4
            found = data.texts.ragged(np.array([data.rows.text[place]])).ids.tolist()
            assert found == tokenizer(text, truncation=True, max_length=limit)["input_ids"]
            place += 1
    assert place == len(data.rows.text)


def test_equal_texts_of_a_role_are_stored_once(files, tokenizer, tmp_path):
    data = open_or_build(files, tokenizer, RECIPE, tmp_path / "stores")
    assert len(data.texts) == 3 + 7  # queries; passages, among them one that is a query too
    assert data.rows.query[0] == data.rows.query[1]


def test_kinds_scores_and_sources(files, tokenizer, tmp_path):
    rows = open_or_build(files, tokenizer, RECIPE, tmp_path / "stores").rows
    kinds = [KINDS[number] for number in rows.kind]
    assert kinds == [RowKind.HARD, RowKind.IN_BATCH, RowKind.GRADED, RowKind.TEACHER]
    assert rows.source.tolist() == [0, 0, 1, 1]
    assert rows.score[rows.bounds[2] + 1 : rows.bounds[3]].tolist() == [1.0, 0.25]
    assert rows.score[rows.bounds[3] + 1 :].tolist() == [3.0, 1.0, 0.5]
    assert np.isnan(rows.score[: rows.bounds[2]]).all()


def test_rows_are_found_as_if_they_had_been_sorted_in_memory(files, tokenizer, tmp_path):
    rows = open_or_build(files * 40, tokenizer, RECIPE, tmp_path / "stores").rows
    expected = row_store(rows.kind, rows.source, rows.bounds, rows.pos_count, rows.text, rows.score)
    assert rows.by_query.rows.tolist() == expected.by_query.rows.tolist()
    assert rows.by_query.keys.tolist() == expected.by_query.keys.tolist()
    assert rows.positive_ends.tolist() == expected.positive_ends.tolist()
    assert expected.positive_ends[:4].tolist() == [2, 3, 4, 5]


def test_a_store_is_built_once_for_the_same_bytes_and_tokens(files, tokenizer, tmp_path, monkeypatch):
    cache, built = tmp_path / "stores", []
    monkeypatch.setattr(build, "_build", lambda *given, real=build._build: (built.append(1), real(*given)))
    for recipe in (RECIPE, RECIPE, Recipe(5, 6)):
        open_or_build(files, tokenizer, recipe, cache)
    assert len(built) == 2
    tokenizer("something", truncation=True, max_length=3)  # leaves a setting behind in the tokenizer
    open_or_build(files, tokenizer, RECIPE, cache)
    assert len(built) == 2
    tokenizer.truncation_side = "left"
    open_or_build(files, tokenizer, RECIPE, cache)
    assert len(built) == 3


def test_a_failed_build_leaves_nothing_that_looks_whole(tokenizer, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query": "a", "pos": ["b"]}\n{"query": "a"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2: pos"):
        open_or_build([str(bad)], tokenizer, RECIPE, tmp_path / "stores")
    assert not list((tmp_path / "stores").glob("*/facts.json"))

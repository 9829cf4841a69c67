"""The token store contains the tokens of each distinct text once, and is reused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import AutoTokenizer

from embedctl.data import build
from embedctl.data.build import open_or_build
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS
from embedctl.errors import DataError
from embedctl.tokens.text_settings import TextSettings
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


TEXT_SETTINGS = TextSettings(query_max_len=4, passage_max_len=6, query_prompt="q ", passage_prompt="p ")


def test_the_tokens_of_each_text_are_those_of_the_tokenizer(files, tokenizer, tmp_path):
    data = open_or_build(files, tokenizer, TEXT_SETTINGS, tmp_path / "stores")
    index = 0
    for row in ROWS:
        texts = [row.get("prompt", "q ") + row["query"], *("p " + text for text in row["pos"] + row.get("neg", []))]
        for number, text in enumerate(texts):
            limit = 6 if number else 4
            found = data.texts.tokens_of(np.array([data.rows.text_ids[index]])).ids.tolist()
            assert found == tokenizer(text, truncation=True, max_length=limit)["input_ids"]
            index += 1
    assert index == len(data.rows.text_ids)


def test_equal_queries_and_equal_passages_are_stored_once(files, tokenizer, tmp_path):
    data = open_or_build(files, tokenizer, TEXT_SETTINGS, tmp_path / "stores")
    assert len(data.texts) == 3 + 7  # 3 queries and 7 passages; one text is both
    assert data.rows.query_ids[0] == data.rows.query_ids[1]


def test_the_store_contains_kinds_scores_and_sources(files, tokenizer, tmp_path):
    rows = open_or_build(files, tokenizer, TEXT_SETTINGS, tmp_path / "stores").rows
    kinds = [KINDS[number] for number in rows.kind]
    assert kinds == [RowKind.HARD, RowKind.IN_BATCH, RowKind.GRADED, RowKind.TEACHER]
    assert rows.source.tolist() == [0, 0, 1, 1]
    assert rows.score[rows.bounds[2] + 1 : rows.bounds[3]].tolist() == [1.0, 0.25]
    assert rows.score[rows.bounds[3] + 1 :].tolist() == [3.0, 1.0, 0.5]
    assert np.isnan(rows.score[: rows.bounds[2]]).all()


def test_rows_with_keys_that_training_does_not_use_are_counted(tokenizer, tmp_path):
    graded, teacher = {"scores": [1.0]}, {"pos_scores": [1.0], "neg_scores": [0.0], "neg": ["c"]}
    variants = [{}, graded, teacher, graded | teacher, graded | {"neg": ["c"]}, graded | {"neg": ["d"]}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"query": "a", "pos": ["b"]} | keys) + "\n" for keys in variants))
    data = open_or_build([str(rows)], tokenizer, TEXT_SETTINGS, tmp_path / "stores")
    assert data.facts["not_used"] == {"scores": 1, "neg": 2}


def test_the_index_by_query_equals_an_index_built_in_memory(files, tokenizer, tmp_path):
    rows = open_or_build(files * 40, tokenizer, TEXT_SETTINGS, tmp_path / "stores").rows
    expected = row_store(rows.kind, rows.source, rows.bounds, rows.pos_count, rows.text_ids, rows.score)
    assert rows.by_query.rows.tolist() == expected.by_query.rows.tolist()
    assert rows.by_query.keys.tolist() == expected.by_query.keys.tolist()
    assert rows.positive_ends.tolist() == expected.positive_ends.tolist()
    assert expected.positive_ends[:4].tolist() == [2, 3, 4, 5]


def test_a_store_is_reused_for_the_same_bytes_tokenizer_and_settings(files, tokenizer, tmp_path, monkeypatch):
    cache, builds = tmp_path / "stores", []
    monkeypatch.setattr(build, "_build", lambda *args, real=build._build: (builds.append(1), real(*args)))
    for text_settings in (TEXT_SETTINGS, TEXT_SETTINGS, TextSettings(5, 6)):
        open_or_build(files, tokenizer, text_settings, cache)
    assert len(builds) == 2
    tokenizer("something", truncation=True, max_length=3)  # changes the state of the tokenizer, but not its tokens
    open_or_build(files, tokenizer, TEXT_SETTINGS, cache)
    assert len(builds) == 2
    tokenizer.truncation_side = "left"
    open_or_build(files, tokenizer, TEXT_SETTINGS, cache)
    assert len(builds) == 3


def test_a_failed_build_leaves_no_complete_store(tokenizer, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query": "a", "pos": ["b"]}\n{"query": "a"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2: pos"):
        open_or_build([str(bad)], tokenizer, TEXT_SETTINGS, tmp_path / "stores")
    assert not list((tmp_path / "stores").glob("*/facts.json"))

"""Tests of the precedence of prompts."""

from __future__ import annotations

import pytest

from embedctl.tokens.prompts import first_prompt, model_prompt


@pytest.mark.parametrize(
    ("row", "given", "model", "expected"),
    [
        ("row", "given", "model", "row"),
        ("", "given", "model", ""),
        (None, "given", "model", "given"),
        (None, "", "model", ""),
        (None, None, "model", "model"),
        (None, None, None, ""),
    ],
)
def test_precedence_is_row_then_given_then_model(row, given, model, expected):
    assert first_prompt(row, given, model) == expected


def test_a_passage_prompt_is_found_under_several_names():
    assert model_prompt({"query": "q", "document": "", "corpus": "c"}, "passage") == ""
    assert model_prompt({"query": "q", "document": None, "corpus": "c"}, "passage") == "c"
    assert model_prompt({"passage": "p", "document": "d"}, "passage") == "d"
    assert model_prompt({"document": "d", "query": None}, "query") is None

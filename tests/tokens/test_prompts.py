"""Which prompt wins."""

from __future__ import annotations

import pytest

from embedctl.tokens.prompts import first_prompt, model_prompt


@pytest.mark.parametrize(
    ("own", "given", "model", "expected"),
    [
        ("own", "given", "model", "own"),
        ("", "given", "model", ""),
        (None, "given", "model", "given"),
        (None, "", "model", ""),
        (None, None, "model", "model"),
        (None, None, None, ""),
    ],
)
def test_the_rows_prompt_wins_then_the_one_given_then_the_models(own, given, model, expected):
    assert first_prompt(own, given, model) == expected


def test_a_model_may_keep_its_passage_prompt_under_several_names():
    assert model_prompt({"query": "q", "document": "", "corpus": "c"}, "passage") == "c"
    assert model_prompt({"passage": "p", "document": "d"}, "passage") == "d"
    assert model_prompt({"document": "d", "query": None}, "query") == ""

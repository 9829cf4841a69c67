"""Texts are stored and read back by row."""

from __future__ import annotations

import json

import pytest

from embedctl.storage import textmap
from embedctl.storage.textmap import TextMap, store_texts

TEXTS = ["one", "", 'two\nlines, "quoted"', "学习\u2028", "last"]


@pytest.mark.parametrize("block", [2, 4096])
def test_any_row_can_be_read(block, tmp_path, monkeypatch):
    monkeypatch.setattr(textmap, "BLOCK", block)
    assert list(store_texts(iter(TEXTS), tmp_path)) == TEXTS
    texts = TextMap(tmp_path)
    assert len(texts) == len(TEXTS)
    assert [texts[row] for row in (4, 0, 2, 3, 1)] == [TEXTS[row] for row in (4, 0, 2, 3, 1)]
    lines = (tmp_path / "texts.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line) for line in lines] == [{"row": row, "text": text} for row, text in enumerate(TEXTS)]


def test_an_input_without_texts(tmp_path):
    assert list(store_texts(iter([]), tmp_path)) == []
    assert len(TextMap(tmp_path)) == 0

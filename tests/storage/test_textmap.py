"""Texts by row: what was passed through is what comes back, any row without the others."""

from __future__ import annotations

import json

import pytest

from embedctl.storage import textmap
from embedctl.storage.textmap import TextMap, recorded

TEXTS = ["one", "", 'two\nlines, "quoted"', "学习\u2028", "last"]


@pytest.mark.parametrize("block", [2, 4096])
def test_any_row_comes_back(block, tmp_path, monkeypatch):
    monkeypatch.setattr(textmap, "BLOCK", block)
    assert list(recorded(iter(TEXTS), tmp_path)) == TEXTS
    texts = TextMap(tmp_path)
    assert len(texts) == len(TEXTS)
    assert [texts[row] for row in (4, 0, 2, 3, 1)] == [TEXTS[row] for row in (4, 0, 2, 3, 1)]
    lines = (tmp_path / "texts.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line) for line in lines] == [{"row": row, "text": text} for row, text in enumerate(TEXTS)]


def test_no_text(tmp_path):
    assert list(recorded(iter([]), tmp_path)) == []
    assert len(TextMap(tmp_path)) == 0

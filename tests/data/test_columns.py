"""Looking at many rows together finds what looking at one after the other finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedctl import console
from embedctl.data import validate as module
from embedctl.data.columns import clean_texts
from embedctl.data.damage import find_damage
from embedctl.data.rows import check, to_row
from embedctl.data.validate import find_oddities, validate
from embedctl.reading.documents import Lines
from embedctl.resources import example_data

PLAIN = st.sampled_from([*"abcdefgh", "月亮", "two words", 'a "quoted" \\ word', "tab\tand\nline"])
ODD = st.sampled_from(["", " ", "\u3000", "caf\ufffd", "a\x07", "\x93b\x94", "\x7f", "½", "\u2028"])
TEXT = st.one_of(PLAIN, PLAIN, PLAIN, ODD)
WRONG = st.sampled_from([None, 3, True, "text", [], {}, [1], ["a", None], float("nan"), 1 << 80])
TEXTS = st.lists(TEXT, max_size=4)
KEYS = {"query": TEXT, "pos": TEXTS, "neg": TEXTS, "id": st.integers(), "prompt": TEXT, "scores": st.just([1.0])}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A row, as a rule one that is all right."""
    number = draw(st.integers(0, 30))
    row: dict[str, Any] = {"query": f"q{number}", "pos": [f"p{number}"]}
    if draw(st.booleans()):
        row["neg"] = [f"n{number}", *draw(st.lists(PLAIN, max_size=3))]
    for key in draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=2)):
        row[key] = draw(st.one_of(KEYS[key], KEYS[key], WRONG))
    if not draw(st.integers(0, 12)):
        del row[draw(st.sampled_from(sorted(row)))]
    return row


LINE = st.one_of(
    st.builds(
        lambda row, plain: json.dumps(row, ensure_ascii=plain).encode("utf-8", "surrogatepass"),
        documents(),
        st.booleans(),
    ),
    documents().map(lambda row: json.dumps(row).encode() + b" \r"),
    st.sampled_from(
        [b"", b" ", b"[]", b"3", b"{}", b"{", b'{"a":1},{"a":2}', b'{"query":"\xff","pos":["a"]}', b"\xed"]
    ),
    st.just(b'{"query": {"not": "this"}, "query": "again", "pos": ["the last counts"]}'),
    st.just(b'{"query": "\\ud800", "pos": ["half"]}'),
)


def report(path: Path, neg_nums: int, keep: int) -> dict[str, Any]:
    return validate(str(path), neg_nums, keep, None, console.Bar("check", None, "MB"))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(LINE, min_size=1, max_size=20),
    at_once=st.integers(1, 8),
    neg_nums=st.integers(0, 3),
    keep=st.sampled_from([0, 1, 3, 50]),
    layout=st.sampled_from([(b"", b"\n", b""), (b"[\n", b",\n", b"\n]"), (b"[", b", ", b"]")]),
)
def test_rows_together_and_one_by_one_make_the_same_report(
    tmp_path, monkeypatch, rows, at_once, neg_nums, keep, layout
):
    start, between, end = layout
    path = tmp_path / "rows.jsonl"
    path.write_bytes(start + between.join(rows) + end)
    monkeypatch.setattr(module, "clean_texts", clean_texts)
    monkeypatch.setattr(module, "LINES_AT_ONCE", at_once)
    quick = report(path, neg_nums, keep)
    monkeypatch.setattr(module, "clean_texts", lambda lines: None)
    assert report(path, neg_nums, keep) == quick


@settings(max_examples=300, deadline=None, derandomize=True)
@given(LINE)
def test_a_line_is_clean_if_nothing_can_be_said_against_it(line):
    document = next(Lines([1], [line]).documents())
    texts = clean_texts([line])
    if document.fault is not None or check(document.value):
        assert texts is None
        return
    row = to_row(document.value)
    rare = {"prompt", "scores"} & set(document.value) or document.value.get("neg", []) is None
    assert (texts is not None) == (not rare and not find_oddities(row, 0) and not find_damage(row))
    if texts is not None:
        assert (texts.queries[0], tuple(texts.pos.texts), tuple(texts.neg.texts)) == (row.query, row.pos, row.neg)


@pytest.mark.parametrize("name", ["train.json", "kinds/hard_negatives.jsonl", "kinds/in_batch.jsonl"])
def test_the_example_rows_go_the_quick_way(name):
    lines = example_data(name).read_bytes().splitlines()
    texts = clean_texts(lines)
    assert texts is not None
    assert list(texts.queries) == [json.loads(line)["query"] for line in lines]


@pytest.mark.parametrize("name", ["kinds/graded.jsonl", "kinds/teacher.jsonl", "kinds/prompted.jsonl"])
def test_rare_kinds_go_one_by_one(name):
    assert clean_texts(example_data(name).read_bytes().splitlines()) is None

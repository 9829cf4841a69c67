"""Hypothesis strategies for lines of data files: clean rows, rows with warnings or errors, and lines without a row."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

CLEAN_TEXT = st.sampled_from([*"abcdefgh", "月亮", "two words", 'a "quoted" \\ word', "tab\tand\nline"])
UNUSUAL_TEXT = st.sampled_from(["", " ", "\u3000", "caf\ufffd", "a\x07", "\x93b\x94", "\x7f", "½", "\u2028"])
TEXT = st.one_of(CLEAN_TEXT, CLEAN_TEXT, CLEAN_TEXT, UNUSUAL_TEXT)
WRONG_VALUE = st.sampled_from([None, 3, True, "text", [], {}, [1], ["a", None], float("nan"), 1 << 80])
TEXTS = st.lists(TEXT, max_size=4)
KEYS = {"query": TEXT, "pos": TEXTS, "neg": TEXTS, "id": st.integers(), "prompt": TEXT, "scores": st.just([1.0])}


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Return a row, which is clean in most cases."""
    number = draw(st.integers(0, 30))
    row: dict[str, Any] = {"query": f"q{number}", "pos": [f"p{number}"]}
    if draw(st.booleans()):
        row["neg"] = [f"n{number}", *draw(st.lists(CLEAN_TEXT, max_size=3))]
    for key in draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=2)):
        row[key] = draw(st.one_of(KEYS[key], KEYS[key], WRONG_VALUE))
    if not draw(st.integers(0, 12)):
        del row[draw(st.sampled_from(sorted(row)))]
    return row


LINE = st.one_of(
    st.builds(
        lambda row, ensure_ascii: json.dumps(row, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass"),
        rows(),
        st.booleans(),
    ),
    rows().map(lambda row: json.dumps(row).encode() + b" \r"),
    st.sampled_from(
        [b"", b" ", b"[]", b"3", b"{}", b"{", b'{"a":1},{"a":2}', b'{"query":"\xff","pos":["a"]}', b"\xed"]
    ),
    st.just(b'{"query": {"not": "this"}, "query": "again", "pos": ["the last counts"]}'),
    st.just(b'{"query": "\\ud800", "pos": ["half"]}'),
)

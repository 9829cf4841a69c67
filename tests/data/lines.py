"""Lines of data files for property tests: rows that are all right, odd or wrong, and what is no row."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

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

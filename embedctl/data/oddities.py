"""What is odd about a row taken by itself: nothing that makes it unusable, but what its owner would want to know.

`find_damage` looks for characters that a conversion lost; `may_be_damaged` says quickly where there can be none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from embedctl.data.rows import Row
from embedctl.reading.documents import Problem

# U+FFFD and control characters but tab and line ends.
DAMAGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
# Bytes with none of these hold none of those. Looking for one byte is nearly free, so that comes first.
CLUES = (
    (b"\x7f", re.compile(rb"\x7f")),
    (b"\\", re.compile(rb"\\[ubf]")),
    (b"\xc2", re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")),
    (b"\xef", re.compile(rb"\xef\xbf\xbd")),
)


def find_oddities(row: Row, neg_nums: int) -> list[Problem]:
    """What is odd about a row taken by itself."""
    faults = []
    if len(row.neg) < neg_nums and not row.scores:
        faults.append(few_negatives(len(row.neg), neg_nums))
    if row.query in row.pos:
        faults.append(Problem(f"pos[{row.pos.index(row.query)}]", "query-is-positive", "the query itself"))
    distinct = set(row.neg)
    if not distinct.isdisjoint(row.pos):
        place = next(place for place, text in enumerate(row.neg) if text in row.pos)
        message = f"the same text as pos[{row.pos.index(row.neg[place])}]"
        faults.append(Problem(f"neg[{place}]", "positive-is-negative", message))
    if len(distinct) < len(row.neg):
        faults += _repeated("neg", row.neg)
    if len(row.pos) > 1:
        faults += _repeated("pos", row.pos)
    return faults


def few_negatives(there: int, wanted: int) -> Problem:
    """The warning of a row with fewer negatives than a query takes."""
    what = f"{there} of {wanted} negatives: some are drawn twice" if there else "has no negatives"
    return Problem("neg", "few-negatives", what)


def _repeated(name: str, texts: Sequence[str]) -> Iterator[Problem]:
    """The first text of a list that it holds already."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        if first.setdefault(text, place) != place:
            yield Problem(f"{name}[{place}]", "duplicate-text", f"the same text as {name}[{first[text]}]")
            return


def may_be_damaged(raw: bytes) -> bool:
    """Whether a closer look at the texts in a line of JSON is worth it."""
    for byte, pattern in CLUES:  # noqa: SIM110  any() takes twice as long, and this runs for each row
        if byte in raw and pattern.search(raw):
            return True
    return False


def find_damage(row: Row) -> list[Problem]:
    """The first text of each field that holds a character lost in a conversion."""
    faults = []
    for name, texts in (("query", (row.query,)), ("pos", row.pos), ("neg", row.neg), ("prompt", (row.prompt or "",))):
        for place, text in enumerate(texts):
            found = DAMAGE.search(text)
            if found:
                field = f"{name}[{place}]" if name in ("pos", "neg") else name
                what = "a lost character" if found[0] == "\ufffd" else "a control character"
                message = f"holds U+{ord(found[0]):04X}, {what}, at {found.start()}"
                faults.append(Problem(field, "encoding-damage", message))
                break
    return faults

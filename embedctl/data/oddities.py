"""What is odd about a row taken by itself: nothing that makes it unusable, but what its owner would want to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embedctl.data.rows import Row
from embedctl.reading.documents import Fault


def find_oddities(row: Row, neg_nums: int) -> list[Fault]:
    """What is odd about a row taken by itself."""
    faults = []
    if len(row.neg) < neg_nums and not row.scores:
        faults.append(few_negatives(len(row.neg), neg_nums))
    if row.query in row.pos:
        faults.append(Fault(f"pos[{row.pos.index(row.query)}]", "query-is-positive", "the query itself"))
    distinct = set(row.neg)
    if not distinct.isdisjoint(row.pos):
        place = next(place for place, text in enumerate(row.neg) if text in row.pos)
        message = f"the same text as pos[{row.pos.index(row.neg[place])}]"
        faults.append(Fault(f"neg[{place}]", "positive-is-negative", message))
    if len(distinct) < len(row.neg):
        faults += _repeated("neg", row.neg)
    if len(row.pos) > 1:
        faults += _repeated("pos", row.pos)
    return faults


def few_negatives(there: int, wanted: int) -> Fault:
    """The warning of a row with fewer negatives than a query takes."""
    what = f"{there} of {wanted} negatives: some are drawn twice" if there else "has no negatives"
    return Fault("neg", "few-negatives", what)


def _repeated(name: str, texts: Sequence[str]) -> Iterator[Fault]:
    """The first text of a list that it holds already."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        if first.setdefault(text, place) != place:
            yield Fault(f"{name}[{place}]", "duplicate-text", f"the same text as {name}[{first[text]}]")
            return

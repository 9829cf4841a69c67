"""What is wrong with a data file, what is odd about it, and what is in it: one pass, memory that does not grow with the file.

Errors make rows unusable; warnings are what a person would want to know. What needs a look at all rows together (duplicates,
positives that are negatives elsewhere) goes through hashes on the disk, 16 bytes a text.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl.console import Bar
from embedctl.data.formats import documents
from embedctl.data.hashes import HashParts
from embedctl.data.random import mix
from embedctl.data.rows import Fault, Row, check, to_row

WARNING_CODES = {"blank-line"}
BLOCK_TEXTS = 1 << 15
LONGEST = 1 << 16  # lengths above count as this long in the percentiles
MASK = (1 << 64) - 1
DAMAGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
SUSPICIOUS = (b"\\u00", b"\\ufffd", b"\\uFFFD", b"\xef\xbf\xbd", b"\x7f", b"\\b", b"\\f")
FIELDS = ("query", "pos", "neg")


@dataclass
class Found:
    """Faults of one severity: all counted, the first `limit` kept."""

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    kept: list[tuple[int, Fault]] = field(default_factory=list)

    def add(self, line: int, fault: Fault, times: int = 1) -> None:
        """Count a fault; `times` if it stands for several."""
        self.counts[fault.code] += times
        if len(self.kept) < self.limit:
            self.kept.append((line, fault))

    @property
    def total(self) -> int:
        """All faults, kept or not."""
        return sum(self.counts.values())


class Lengths:
    """Lengths of the texts of a field: a histogram."""

    def __init__(self) -> None:
        self.histogram: NDArray[np.int64] = np.zeros(LONGEST + 1, dtype=np.int64)
        self.total, self.longest = 0, 0

    def add(self, lengths: list[int]) -> None:
        """Add the lengths of some texts."""
        if lengths:
            values = np.array(lengths)
            self.histogram += np.bincount(np.minimum(values, LONGEST), minlength=LONGEST + 1)
            self.total, self.longest = self.total + int(values.sum()), max(self.longest, int(values.max()))

    def above(self, limit: int) -> int:
        """Texts longer than `limit`."""
        return int(self.histogram[limit + 1 :].sum())

    def summary(self) -> dict[str, float]:
        """Count, mean, median, 95th percentile and greatest length."""
        count = int(self.histogram.sum())
        if not count:
            return {"count": 0, "mean": 0.0, "p50": 0, "p95": 0, "max": 0}
        cumulated = np.cumsum(self.histogram)
        p50, p95 = (int(np.searchsorted(cumulated, share * count)) for share in (0.5, 0.95))
        return {"count": count, "mean": round(self.total / count, 1), "p50": p50, "p95": p95, "max": self.longest}


@dataclass(frozen=True)
class TokenCount:
    """Counts tokens, special ones included.

    Args:
        count: maps texts to their numbers of tokens.
        limits: tokens at which each field's texts are cut.
    """

    count: Callable[[list[str]], list[int]]
    limits: dict[str, int]


class Validator:
    """Looks at the rows of one file.

    Args:
        path: of the file.
        neg_nums: rows with fewer negatives are counted.
        keep: faults of each severity that are kept.
        tokens: counts tokens; None for characters only.
        folder: for hashes; the caller removes it.
    """

    def __init__(self, path: str, neg_nums: int, keep: int, tokens: TokenCount | None, folder: Path) -> None:
        self.path, self.neg_nums, self.tokens = path, neg_nums, tokens
        self.errors, self.warnings = Found(keep), Found(keep)
        self.rows = 0
        self.kinds: Counter[str] = Counter()
        self.characters = {name: Lengths() for name in FIELDS}
        self.token_lengths = {name: Lengths() for name in FIELDS}
        self._texts, self._queries = HashParts(folder / "texts"), HashParts(folder / "queries", 2)
        self._pairs = HashParts(folder / "pairs", 3)
        self._block: list[tuple[int, Row]] = []
        self._block_texts = 0

    def run(self, bar: Bar) -> dict[str, Any]:
        """Read the file; returns the document of `--json`."""
        for document in documents(self.path):
            fault = document.fault
            if fault is not None:
                (self.warnings if fault.code in WARNING_CODES else self.errors).add(document.line, fault)
                continue
            faults = check(document.value)
            for fault in faults:
                self.errors.add(document.line, fault)
            if not faults:
                self._row(document.line, to_row(document.value), document.raw)
            bar.advance()
        self._flush()
        self._look_at_all()
        if not self.rows and not self.errors.total:
            self.errors.add(1, Fault("file", "no-rows", "the file has no rows"))
        return self.document()

    def _row(self, line: int, row: Row, raw: bytes) -> None:
        self.rows += 1
        self.kinds[row.kind.value] += 1
        if len(row.neg) < self.neg_nums and not row.scores:
            message = f"{len(row.neg)} negatives where --neg-nums is {self.neg_nums}: they are drawn again" if row.neg else "no negatives: other rows' texts serve"
            self.warnings.add(line, Fault("neg", "few-negatives", message))
        if row.query in row.pos:
            self.warnings.add(line, Fault("pos", "query-is-positive", "the query is its own positive"))
        if row.neg and not set(row.neg).isdisjoint(row.pos):
            self.warnings.add(line, Fault("neg", "positive-is-negative", "a text is both positive and negative in this row"))
        if not raw or any(sign in raw for sign in SUSPICIOUS):
            self._look_for_damage(line, row)
        self._block.append((line, row))
        self._block_texts += 1 + len(row.pos) + len(row.neg)
        if self._block_texts >= BLOCK_TEXTS:
            self._flush()

    def _look_for_damage(self, line: int, row: Row) -> None:
        for name, texts in zip(FIELDS, ((row.query,), row.pos, row.neg), strict=True):
            for text in texts:
                found = DAMAGE.search(text)
                if found:
                    what = "U+FFFD, a character lost in a conversion" if found[0] == "\ufffd" else f"control character {found[0]!r}"
                    self.warnings.add(line, Fault(name, "encoding-damage", f"holds {what}"))
                    break

    def _flush(self) -> None:
        """Hash and measure the rows gathered so far."""
        rows = [row for _, row in self._block]
        for name, texts in (
            ("query", [row.query for row in rows]),
            ("pos", [text for row in rows for text in row.pos]),
            ("neg", [text for row in rows for text in row.neg]),
        ):
            self.characters[name].add([len(text) for text in texts])
            if self.tokens is not None and texts:
                self.token_lengths[name].add(self.tokens.count(texts))
        lines = np.array([line for line, _ in self._block], dtype=np.uint64)
        query = _hashes([row.query for row in rows])
        pos = _hashes([text for row in rows for text in row.pos])
        neg = _hashes([text for row in rows for text in row.neg])
        self._texts.add(np.concatenate([pos, neg]))
        self._queries.add(np.stack([query, lines], axis=1))
        for role, texts_hashes, counts in ((0, pos, [len(row.pos) for row in rows]), (1, neg, [len(row.neg) for row in rows])):
            pairs = mix(np.repeat(query, counts), texts_hashes) if len(texts_hashes) else texts_hashes
            self._pairs.add(np.stack([pairs, np.repeat(lines, counts), np.full(len(pairs), role, dtype=np.uint64)], axis=1))
        self._block, self._block_texts = [], 0

    def _look_at_all(self) -> None:
        for part in self._queries.sorted_parts():
            again = part[1:][part[1:, 0] == part[:-1, 0]]
            for line in again[:, 1]:
                self.warnings.add(int(line), Fault("query", "duplicate-query", "this query stands in an earlier row too"))
        self.duplicate_texts = sum(len(part) - len(np.unique(part)) for part in self._texts.sorted_parts())
        for part in self._pairs.sorted_parts():
            for line in _contradictions(part):
                message = "a negative is a positive of another row with the same query"
                self.warnings.add(line, Fault("neg", "positive-is-negative", message))

    def document(self) -> dict[str, Any]:
        """The file's part of `--json`."""
        return {
            "path": self.path,
            "rows": self.rows,
            "kinds": dict(self.kinds),
            "errors": [_listed(line, fault) for line, fault in self.errors.kept],
            "warnings": [_listed(line, fault) for line, fault in self.warnings.kept],
            "stats": {
                "errors": self.errors.total,
                "warnings": self.warnings.total,
                "error_counts": dict(self.errors.counts),
                "warning_counts": dict(self.warnings.counts),
                "duplicate_queries": self.warnings.counts["duplicate-query"],
                "duplicate_texts": self.duplicate_texts,
                "characters": {name: lengths.summary() for name, lengths in self.characters.items()},
                **({"tokens": self._token_summary(self.tokens)} if self.tokens else {}),
            },
        }

    def _token_summary(self, tokens: TokenCount) -> dict[str, Any]:
        summary: dict[str, Any] = {}
        for name, lengths in self.token_lengths.items():
            facts = lengths.summary()
            truncated = lengths.above(tokens.limits[name])
            summary[name] = facts | {"truncated": truncated, "truncated_share": round(truncated / max(facts["count"], 1), 4)}
        return summary


def _hashes(texts: list[str]) -> NDArray[np.uint64]:
    """Python's own hashes: fast, and the same within a process, which is all that is asked here."""
    return np.array([hash(text) & MASK for text in texts], dtype=np.uint64)


def _contradictions(pairs: NDArray[np.uint64]) -> list[int]:
    """Lines of negatives that are positives of the same query in another row; (n, 3) pair, line and role, sorted by pair."""
    positive, negative = pairs[pairs[:, 2] == 0], pairs[pairs[:, 2] == 1]
    low, high = (np.searchsorted(positive[:, 0], negative[:, 0], side=side) for side in ("left", "right"))
    lines = []
    for place in np.flatnonzero(high > low):
        if (positive[low[place] : high[place], 1] != negative[place, 1]).all():
            lines.append(int(negative[place, 1]))
    return lines


def _listed(line: int, fault: Fault) -> dict[str, Any]:
    return {"line": line, "field": fault.field, "code": fault.code, "message": fault.message}


def validate(path: str, neg_nums: int, keep: int, tokens: TokenCount | None, bar: Bar) -> dict[str, Any]:
    """Look at one file.

    Args:
        path: of the file.
        neg_nums: rows with fewer negatives are counted.
        keep: faults of each severity that are listed; all are counted.
        tokens: counts tokens; None for characters only.
        bar: advances with the rows.

    Returns:
        path, rows, kinds, errors, warnings and stats, as `--json` prints them.

    Raises:
        DataError: the file can't be opened.
    """
    with tempfile.TemporaryDirectory(prefix="embedctl-") as folder:
        return Validator(path, neg_nums, keep, tokens, Path(folder)).run(bar)

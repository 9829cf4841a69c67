"""What is wrong with a data file, what is odd about it, and what is in it: one pass, in memory that does not grow.

Errors make rows unusable; warnings are what a person would want to know. Rows with errors count in no statistics.
Texts are taken as they stand: two that differ in a space are two.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedctl.console import Bar
from embedctl.data.crosscheck import CrossCheck
from embedctl.data.findings import Findings
from embedctl.data.formats import Document, documents
from embedctl.data.lengths import Lengths, TokenCount
from embedctl.data.rows import Fault, Row, check, to_row
from embedctl.errors import DataError

WARNING_CODES = {"blank-line"}
FIELDS = ("query", "pos", "neg")
BLOCK_BYTES = 1 << 22
MEGABYTE = 1_000_000
# U+FFFD and control characters but tab and line ends.
DAMAGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
# A line with none of these holds none of those. Looking for one byte is nearly free, so that comes first.
CLUES = (
    (b"\x7f", re.compile(rb"\x7f")),
    (b"\\", re.compile(rb"\\[ubf]")),
    (b"\xc2", re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")),
    (b"\xef", re.compile(rb"\xef\xbf\xbd")),
)


class Validator:
    """Looks at the rows of one file.

    Args:
        path: of the file.
        neg_nums: a row with fewer negatives gets a warning.
        keep: errors, and warnings, that are listed.
        tokens: counts tokens; None for characters only.
        folder: for hashes; the caller removes it.
    """

    def __init__(self, path: str, neg_nums: int, keep: int, tokens: TokenCount | None, folder: Path) -> None:
        self.path, self.neg_nums, self.tokens = path, neg_nums, tokens
        self.errors, self.warnings = Findings(keep), Findings(keep)
        self.kinds: Counter[str] = Counter()
        self.prompted, self.repeated_texts = 0, 0
        self.characters = {name: Lengths() for name in FIELDS}
        self.token_lengths = {name: Lengths() for name in FIELDS}
        self._across = CrossCheck(folder)
        self._block: list[tuple[tuple[int, int], Row]] = []
        self._block_bytes, self._bytes = 0, 0
        self._lines_are_shared = False

    def run(self, bar: Bar) -> dict[str, Any]:
        """Read the file; returns its part of the document of `--json`."""
        last, number = 0, 0
        for document in documents(self.path):
            if document.fault is None:
                self._lines_are_shared |= document.line == last
                last = document.line
            self._look_at(document, number)
            number += document.fault is None or document.fault.field != "file"
            if self._block_bytes >= BLOCK_BYTES:
                self._flush(bar)
        self._flush(bar)
        self._look_across()
        if not self.kinds and not self.errors.total:
            self.errors.add(1, Fault("file", "no-rows", "the file has no rows"))
        return self.document()

    def _look_at(self, document: Document, number: int) -> None:
        self._block_bytes += len(document.raw)
        if document.fault is not None:
            findings = self.warnings if document.fault.code in WARNING_CODES else self.errors
            findings.add(document.line, document.fault, number)
            return
        faults = check(document.value)
        for fault in faults:
            self.errors.add(document.line, self._placed(fault, number), number)
        if faults:
            return
        row = to_row(document.value)
        self.kinds[row.kind.value] += 1
        self.prompted += row.prompt is not None
        self._block.append(((document.line, number), row))
        damaged = find_damage(row) if may_be_damaged(document.raw) else []
        for fault in (*find_oddities(row, self.neg_nums), *damaged):
            self.warnings.add(document.line, self._placed(fault, number), number)

    def _placed(self, fault: Fault, number: int) -> Fault:
        """The fault as it stands where a line number does not say which row is meant."""
        if not self._lines_are_shared:
            return fault
        return Fault(f"[{number}].{fault.field}", fault.code, fault.message)

    def _flush(self, bar: Bar) -> None:
        """Hash and measure the rows gathered so far."""
        rows = [row for _, row in self._block]
        self._across.add([place for place, _ in self._block], rows)
        for name, texts in (
            ("query", [row.query for row in rows]),
            ("pos", [text for row in rows for text in row.pos]),
            ("neg", [text for row in rows for text in row.neg]),
        ):
            self.characters[name].add([len(text) for text in texts])
            if self.tokens is not None and texts:
                seen = [(row.prompt or "") + row.query for row in rows] if name == "query" else texts
                self.token_lengths[name].add(self.tokens.count(seen))
        self._bytes += self._block_bytes
        bar.advance(-(-self._bytes // MEGABYTE) - bar.done)
        self._block, self._block_bytes = [], 0

    def _look_across(self) -> None:
        for (line, number), first in self._across.repeated_queries():
            message = f"the query of line {first} again"
            self.warnings.add(line, self._placed(Fault("query", "duplicate-query", message), number), number)
        for (line, number), other in self._across.contradictions():
            message = f"a negative is a positive of the same query on line {other}"
            self.warnings.add(line, self._placed(Fault("neg", "positive-is-negative", message), number), number)
        self.repeated_texts = self._across.repeated_texts()

    def document(self) -> dict[str, Any]:
        """The file's part of `--json`."""
        stats: dict[str, Any] = {
            "errors": self.errors.total,
            "warnings": self.warnings.total,
            "error_counts": dict(self.errors.counts),
            "warning_counts": dict(self.warnings.counts),
            "prompted": self.prompted,
            "duplicate_queries": self.warnings.counts["duplicate-query"],
            "duplicate_texts": self.repeated_texts,
            "characters": {name: lengths.summary() for name, lengths in self.characters.items()},
        }
        if self.tokens is not None:
            stats["tokens"] = {name: self.tokens.summary(name, seen) for name, seen in self.token_lengths.items()}
        return {
            "path": self.path,
            "rows": self.kinds.total(),
            "kinds": dict(self.kinds),
            "errors": self.errors.listed(),
            "warnings": self.warnings.listed(),
            "stats": stats,
        }


def find_oddities(row: Row, neg_nums: int) -> list[Fault]:
    """What is odd about a row taken by itself."""
    faults = []
    if len(row.neg) < neg_nums and not row.scores:
        what = f"{len(row.neg)} of {neg_nums} negatives: some are drawn twice" if row.neg else "has no negatives"
        faults.append(Fault("neg", "few-negatives", what))
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


def _repeated(name: str, texts: Sequence[str]) -> Iterator[Fault]:
    """The first text of a list that it holds already."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        if first.setdefault(text, place) != place:
            yield Fault(f"{name}[{place}]", "duplicate-text", f"the same text as {name}[{first[text]}]")
            return


def may_be_damaged(raw: bytes) -> bool:
    """Whether a closer look at the texts in a line of JSON is worth it."""
    for byte, pattern in CLUES:  # noqa: SIM110  any() takes twice as long, and this runs for each row
        if byte in raw and pattern.search(raw):
            return True
    return False


def find_damage(row: Row) -> list[Fault]:
    """The first text of each field that holds a character lost in a conversion."""
    faults = []
    for name, texts in (("query", (row.query,)), ("pos", row.pos), ("neg", row.neg), ("prompt", (row.prompt or "",))):
        for place, text in enumerate(texts):
            found = DAMAGE.search(text)
            if found:
                field = f"{name}[{place}]" if name in ("pos", "neg") else name
                what = "a lost character" if found[0] == "\ufffd" else "a control character"
                message = f"holds U+{ord(found[0]):04X}, {what}, at {found.start()}"
                faults.append(Fault(field, "encoding-damage", message))
                break
    return faults


def validate(path: str, neg_nums: int, keep: int, tokens: TokenCount | None, bar: Bar) -> dict[str, Any]:
    """Look at one file.

    Args:
        path: of the file; `-` is stdin.
        neg_nums: a row with fewer negatives gets a warning.
        keep: errors, and warnings, that are listed; all are counted.
        tokens: counts tokens; None for characters only.
        bar: advances with the megabytes read.

    Returns:
        path, rows, kinds, errors, warnings and stats, as `--json` prints them.

    Raises:
        DataError: the file can't be opened, or there is no space for its hashes.
    """
    with tempfile.TemporaryDirectory(prefix="embedctl-") as folder:
        try:
            return Validator(path, neg_nums, keep, tokens, Path(folder)).run(bar)
        except OSError as cause:
            hint = "32 bytes a text are needed: set TMPDIR to a folder with more space"
            raise DataError(f"{tempfile.gettempdir()}: can't be written: {cause}", hint) from cause

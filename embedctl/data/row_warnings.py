"""Warnings about a single row: duplicate texts, too few negatives, and characters that indicate a wrong encoding.

A row with warnings can be used for training. Warnings that need several rows are in `crosscheck.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from embedctl.console import plural
from embedctl.data.rows import NOT_USED, Row
from embedctl.reading.hashes import normalize_text
from embedctl.reading.json_values import Problem

# U+FFFD and the control characters, except for tab, line feed, carriage return and U+0085 (next line).
ENCODING_DAMAGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
# Every way in which a line of JSON can contain such a character: U+007F; an escape sequence; U+0080 to U+009F in UTF-8;
# U+FFFD in UTF-8. (JSON allows control characters below U+0020 only as escape sequences.) A line that matches none of
# the patterns therefore contains no damage. The byte before each pattern is searched first, because that is much faster
# and excludes most lines.
DAMAGE_PATTERNS = (
    (b"\x7f", re.compile(rb"\x7f")),
    (b"\\", re.compile(rb"\\[ubf]")),
    (b"\xc2", re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")),
    (b"\xef", re.compile(rb"\xef\xbf\xbd")),
)


def find_warnings(row: Row, neg_nums: int) -> list[Problem]:
    """Return the warnings about the texts of a valid row; encoding damage is a separate check."""
    warnings = []
    if len(row.neg) < neg_nums and not row.scores:
        warnings.append(few_negatives(len(row.neg), neg_nums))
    if row.query in row.pos:
        message = "this positive is the same text as the query. Remove it, or delete the row if it is the only positive"
        warnings.append(Problem(f"pos[{row.pos.index(row.query)}]", "query-is-positive", message))
    distinct = set(row.neg)
    if not distinct.isdisjoint(row.pos):
        index = next(index for index, text in enumerate(row.neg) if text in row.pos)
        message = f"the negative is the same text as pos[{row.pos.index(row.neg[index])}]. Remove one of them"
        warnings.append(Problem(f"neg[{index}]", "positive-is-negative", message))
    elif found := find_near_duplicate(row.pos, row.neg):
        message = f"the negative is the same text as pos[{found[0]}] except for case, width, punctuation and spacing"
        warnings.append(Problem(f"neg[{found[1]}]", "positive-is-negative", f"{message}. Remove one of them"))
    if row.not_used:
        warnings.append(Problem(row.not_used, "not-used", f"the row has {NOT_USED[row.not_used]}"))
    if len(distinct) < len(row.neg):
        warnings += _first_duplicate("neg", row.neg)
    return [*warnings, *_first_duplicate("pos", row.pos)]


def find_near_duplicate(pos: Sequence[str], neg: Sequence[str]) -> tuple[int, int] | None:
    """Return the indices of a positive and a negative that are equal after normalization, or None.

    Texts whose lengths differ by more than a tenth are not compared: punctuation and spacing change less.
    """
    for index, positive in enumerate(pos):
        length = len(positive)
        slack = length // 10 + 8
        similar = [number for number, text in enumerate(neg) if -slack <= len(text) - length <= slack]
        if similar:
            normalized = normalize_text(positive)
            for number in similar:
                if normalize_text(neg[number]) == normalized:
                    return index, number
    return None


def few_negatives(count: int, neg_nums: int) -> Problem:
    """Return the warning about a row that has fewer negatives than training uses per query."""
    found = plural(count, "negative") if count else "no negatives"
    none = "training uses only in-batch negatives for this row, or no negatives with `--in-batch none`"
    effect = "training repeats negatives" if count else none
    fix = "Add negatives (see `embedctl mine-negatives --help`) or lower --neg-nums"
    message = f"the row has {found}, but --neg-nums is {neg_nums}, so {effect}. {fix}"
    return Problem("neg", "few-negatives", message)


def _first_duplicate(key: str, texts: Sequence[str]) -> Iterator[Problem]:
    """Yield a warning about the first text of a list that is equal to an earlier one, if there is such a text."""
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        if first.setdefault(text, index) != index:
            message = f"the text is the same as {key}[{first[text]}]. Remove one of them"
            yield Problem(f"{key}[{index}]", "duplicate-text", message)
            return


def may_have_encoding_damage(raw: bytes) -> bool:
    """Return False if lines of JSON certainly contain no encoding damage; if True, search the parsed texts."""
    for byte, pattern in DAMAGE_PATTERNS:  # noqa: SIM110  any() takes twice as long, and this runs for each row
        if byte in raw and pattern.search(raw):
            return True
    return False


def find_encoding_damage(row: Row) -> list[Problem]:
    """Return a warning per field about its first text with U+FFFD or a control character."""
    warnings = []
    for key, texts in (("query", (row.query,)), ("pos", row.pos), ("neg", row.neg), ("prompt", (row.prompt or "",))):
        for index, text in enumerate(texts):
            if found := ENCODING_DAMAGE.search(text):
                field = f"{key}[{index}]" if key in ("pos", "neg") else key
                if found[0] == "\ufffd":
                    kind, fix = "replacement character", "Convert the original file to UTF-8 again"
                else:
                    kind, fix = "control character", "Remove it, or convert the original file to UTF-8 again"
                message = f"the text contains U+{ord(found[0]):04X} ({kind}) at index {found.start()} (from 0). {fix}"
                warnings.append(Problem(field, "encoding-damage", message))
                break
    return warnings

"""Characters that a conversion lost: how to find them, and where there can be none."""

from __future__ import annotations

import re

from embedctl.data.rows import Row
from embedctl.reading.documents import Fault

# U+FFFD and control characters but tab and line ends.
DAMAGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
# Bytes with none of these hold none of those. Looking for one byte is nearly free, so that comes first.
CLUES = (
    (b"\x7f", re.compile(rb"\x7f")),
    (b"\\", re.compile(rb"\\[ubf]")),
    (b"\xc2", re.compile(rb"\xc2[\x80-\x84\x86-\x9f]")),
    (b"\xef", re.compile(rb"\xef\xbf\xbd")),
)


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

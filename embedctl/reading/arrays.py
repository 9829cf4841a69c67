"""Split one JSON array into the bytes of its elements, with one element in memory at a time.

Only strings, brackets and commas are looked at: whether an element is JSON is for its reader to find out, so that one
bad element does not hide those behind it. Two values with no comma between them are one (bad) element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20
LONGEST = 1 << 26
# Everything up to the next bracket outside of strings; directly in the array, up to the next bracket or comma.
TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"[^"]*+")*+([\[\]{}])')
TO_BRACKET_OR_COMMA = re.compile(rb'(?:[^"\[\]{},]++|"[^"]*+")*+([\[\]{},])')


class BrokenArrayError(ValueError):
    """The array has no end, or something stands behind it; that begins on this line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def elements(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The line and the bytes of each element; no bytes where a comma has nothing before or after it.

    Args:
        stream: its first byte that is no white space is `[`.

    Raises:
        BrokenArrayError: the array is not closed, or something follows it.
    """
    line, commas, closed = 1, 0, False
    for part, sign in _parts(stream):
        begun = line + part.count(b"\n", 0, len(part) - len(part.lstrip()))
        line += part.count(b"\n")
        element = part.strip()
        if sign == b"," or (sign == b"]" and (element or commas)):
            yield begun, element
        elif not sign and closed and element:
            message = "something stands behind the array: a file is one array, or one object a line"
            raise BrokenArrayError(begun, message)
        elif not sign and not closed:
            message = "this element of the array has no end" if element else "the array is not closed"
            raise BrokenArrayError(begun, message)
        commas += sign == b","
        closed |= sign == b"]"


def _parts(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The stream cut at the array's own brackets and commas: the bytes before each of them, and the sign itself.

    What follows the array, or an element without an end, comes with no sign.
    """
    text, start, place, depth = b"", 0, 0, 0
    # A list or string that has not ended is searched again after each read; reads as long as it keep that linear.
    while len(text) - start < LONGEST and (more := stream.read(max(CHUNK, len(text) - start))):
        text, start, place = text[start:] + more, 0, place - start
        searched = _without_escapes(text)
        while found := (TO_BRACKET_OR_COMMA if depth == 1 else TO_BRACKET).match(searched, place):
            sign, place = found[1], found.end()
            if depth == 0 or (depth == 1 and sign in b",]"):
                yield text[start : place - 1], sign
                start = place
            if sign in b"[{":
                depth += 1
            elif depth > 1 and sign in b"]}":
                depth -= 1
            elif sign == b"]":
                yield text[place:], b""
                yield from ((more, b"") for more in iter(lambda: stream.read(CHUNK), b""))
                return
    yield text[start:], b""


def _without_escapes(text: bytes) -> bytes:
    """Text of the same length in which each quote begins or ends a string."""
    return text.replace(rb"\\", b"__").replace(rb"\"", b"__") if b"\\" in text else text

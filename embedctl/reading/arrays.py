"""Split a JSON array into the bytes of its elements, with one element in memory at a time.

The code looks only at strings, brackets and commas and does not parse the elements. The caller parses each element, so
one invalid element does not affect the elements after it. Two values without a comma between them are returned as one
(invalid) element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20  # bytes per read
MAX_ELEMENT_BYTES = 1 << 26
# Everything up to the next bracket outside of strings, and everything up to the next bracket or comma.
UP_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"[^"]*+")*+([\[\]{}])')
UP_TO_BRACKET_OR_COMMA = re.compile(rb'(?:[^"\[\]{},]++|"[^"]*+")*+([\[\]{},])')


class BrokenArrayError(ValueError):
    """The array is not closed, or other content follows it. `line` is the line where that part begins."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def split_array(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the line number and the bytes of each element; the bytes are empty if an element is missing at a comma.

    The first byte of the stream other than white space must be `[`.

    Raises:
        BrokenArrayError: the array is not closed, or other content follows it.
    """
    line, commas, closed = 1, 0, False
    for part, delimiter in _split_at_delimiters(stream):
        first_line = line + part.count(b"\n", 0, len(part) - len(part.lstrip()))
        line += part.count(b"\n")
        element = part.strip()
        if delimiter == b"," or (delimiter == b"]" and (element or commas)):
            yield first_line, element
        elif not delimiter and closed and element:
            message = "there is more content after the array; a file holds either one array or one object per line"
            raise BrokenArrayError(first_line, message)
        elif not delimiter and not closed:
            message = "this array element is not closed" if element else "the array is not closed"
            raise BrokenArrayError(first_line, message)
        commas += delimiter == b","
        closed |= delimiter == b"]"


def _split_at_delimiters(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the bytes before each bracket or comma of the outer array, and that delimiter.

    An element that is not closed and content after the array are yielded with an empty delimiter.
    """
    buffer, start, offset, depth = b"", 0, 0, 0
    # The search of an unclosed list or string starts again after each read. Each read is at least as long as the
    # unclosed part, so that the total time stays linear.
    while len(buffer) - start < MAX_ELEMENT_BYTES and (data := stream.read(max(CHUNK, len(buffer) - start))):
        buffer, start, offset = buffer[start:] + data, 0, offset - start
        searched = _mask_escapes(buffer)
        while found := (UP_TO_BRACKET_OR_COMMA if depth == 1 else UP_TO_BRACKET).match(searched, offset):
            delimiter, offset = found[1], found.end()
            if depth == 0 or (depth == 1 and delimiter in b",]"):
                yield buffer[start : offset - 1], delimiter
                start = offset
            if delimiter in b"[{":
                depth += 1
            elif depth > 1 and delimiter in b"]}":
                depth -= 1
            elif delimiter == b"]":
                yield buffer[offset:], b""
                yield from ((data, b"") for data in iter(lambda: stream.read(CHUNK), b""))
                return
    yield buffer[start:], b""


def _mask_escapes(text: bytes) -> bytes:
    """Replace escaped backslashes and quotes by text of the same length, so that each quote starts or ends a string."""
    return text.replace(rb"\\", b"__").replace(rb"\"", b"__") if b"\\" in text else text

"""Cutting one big JSON array into the bytes of its elements, holding one element at a time.

Only strings, brackets and commas are looked at: whether an element is JSON is for its reader to find out, so that one
bad element does not hide those behind it. Two values with no comma between them are one (bad) element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20
LONGEST = 1 << 26
BACKSLASH = ord("\\")
WITHIN_ELEMENT = re.compile(rb'["\[\]{}]')
BETWEEN_ELEMENTS = re.compile(rb'["\[\]{},]')


class BrokenArrayError(ValueError):
    """The array has no end, or something stands behind it.

    Args:
        line: where that begins.
        message: what is wrong.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


class _Window:
    """The part of the stream that is in memory: from `start`, where the current element begins; read up to `place`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.bytes, self.start, self.place, self.line = b"", 0, 0, 1

    def grow(self) -> bool:
        """Read on; False at the end of the stream, or if the element is too long to be one."""
        more = self._stream.read(CHUNK) if len(self.bytes) - self.start < LONGEST else b""
        self.bytes = self.bytes[self.start :] + more
        self.place, self.start = self.place - self.start, 0
        return bool(more)

    def cut(self) -> tuple[int, bytes]:
        """The element that ends before `place`, without the white space around it, and the line on which it begins."""
        whole = self.bytes[self.start : self.place]
        begun = whole.lstrip()
        line = self.line + whole.count(b"\n", 0, len(whole) - len(begun))
        self.line += whole.count(b"\n")
        self.place += 1
        self.start = self.place
        return line, begun.rstrip()


def elements(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The line and the bytes of each element; no bytes where a comma has nothing before or after it.

    Args:
        stream: its first byte that is no white space is `[`.

    Raises:
        BrokenArrayError: the array is not closed, or something follows it.
    """
    window, depth, commas = _Window(stream), 0, 0
    _next_sign(window, depth)
    window.cut()
    while sign := _next_sign(window, depth):
        if sign in b"[{":
            depth += 1
        elif depth and sign in b"]}":
            depth -= 1
        elif sign in b",]":
            line, element = window.cut()
            if element or sign == b"," or commas:
                yield line, element
            commas += 1
            if sign == b"]":
                _expect_nothing(window)
                return
            continue
        window.place += 1
    line, element = window.cut()
    raise BrokenArrayError(line, "the array is not closed" if not element else "this element of the array has no end")


def _next_sign(window: _Window, depth: int) -> bytes:
    """The next bracket, or comma between elements, outside of strings; b"" if there is none."""
    pattern = WITHIN_ELEMENT if depth else BETWEEN_ELEMENTS
    while True:
        match = pattern.search(window.bytes, window.place)
        window.place = match.start() if match else len(window.bytes)
        if match and match[0] != b'"':
            return match[0]
        end = _string_end(window.bytes, window.place + 1) if match else -1
        if end >= 0:
            window.place = end
        elif not window.grow():
            window.place = len(window.bytes)
            return b""


def _string_end(text: bytes, place: int) -> int:
    """Behind the quote that closes the string whose inside begins at `place`; -1 if it is not there."""
    while (quote := text.find(b'"', place)) >= 0:
        backslashes = 0
        while text[quote - 1 - backslashes] == BACKSLASH:
            backslashes += 1
        if backslashes % 2 == 0:
            return quote + 1
        place = quote + 1
    return -1


def _expect_nothing(window: _Window) -> None:
    while not window.bytes[window.start :].strip():
        window.line += window.bytes.count(b"\n", window.start)
        window.start = window.place = len(window.bytes)
        if not window.grow():
            return
    window.place = len(window.bytes)
    raise BrokenArrayError(
        window.cut()[0], "something stands behind the array: a file is one array, or one object a line"
    )

"""What the valid rows of a file hold: how many of each kind, and how long their texts are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from embedctl.data.columns import Columns
from embedctl.data.lengths import Lengths, TokenCount
from embedctl.data.rows import TEXT_KEYS


class Statistics:
    """Kinds of rows and lengths of texts, in memory that does not grow with their number.

    Args:
        tokens: counts tokens; None for characters only.
    """

    def __init__(self, tokens: TokenCount | None) -> None:
        self.kinds: Counter[str] = Counter()
        self.prompted = 0
        self._count_tokens = tokens
        self._characters = {name: Lengths() for name in TEXT_KEYS}
        self._tokens = {name: Lengths() for name in TEXT_KEYS}

    def add(self, rows: Columns) -> None:
        """Add some rows."""
        self.kinds += rows.kinds
        self.prompted += len(rows.prompts) - rows.prompts.count(None)
        texts_of = dict(zip(TEXT_KEYS, (rows.queries, rows.pos.texts, rows.neg.texts), strict=True))
        for name, texts in texts_of.items():
            self._characters[name].add(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
        if self._count_tokens is None:
            return
        texts_of["query"] = [(prompt or "") + text for prompt, text in zip(rows.prompts, rows.queries, strict=True)]
        for name, texts in texts_of.items():
            if texts:
                self._tokens[name].add(self._count_tokens.count(texts))

    def lengths(self) -> dict[str, dict[str, Any]]:
        """The lengths of each field in characters, and in tokens if they are counted."""
        found = {"characters": {name: lengths.summary() for name, lengths in self._characters.items()}}
        if self._count_tokens is None:
            return found
        summary = self._count_tokens.summary
        return found | {"tokens": {name: summary(name, lengths) for name, lengths in self._tokens.items()}}

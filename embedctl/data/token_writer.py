"""Writing the tokens of a store: each text once, in the order in which texts are added."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from embedctl.data.store import DTYPES, read_array
from embedctl.tokens.spans import Integers
from embedctl.tokens.tokenize import tokenize


class TokenWriter:
    """Writes `tokens`, and where the tokens of each text are: `starts` and `lengths`.

    Args:
        folder: of the store; the `hashes` of all texts are there.
        tokenizer: a transformers tokenizer.
    """

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self.tokenizer, self.written = tokenizer, 0
        shape = read_array(folder, "hashes").shape
        self.starts, self.lengths = (
            np.memmap(folder / f"{name}.bin", DTYPES[name], "w+", shape=shape) for name in ("starts", "lengths")
        )
        self.stream = (folder / "tokens.bin").open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.starts.flush()
        self.lengths.flush()

    def add(self, ids: Integers, texts: Sequence[str], max_len: int) -> None:
        """Tokenise the texts that have no tokens yet, cut to `max_len`.

        Args:
            ids: of the texts; they may repeat.
            texts: as many.
            max_len: of a text that is new.
        """
        distinct, places = np.unique(ids, return_index=True)
        fresh = np.sort(places[self.lengths[distinct] == 0])
        tokens = tokenize(self.tokenizer, [texts[place] for place in fresh], max_len)
        self.starts[ids[fresh]], self.lengths[ids[fresh]] = self.written + tokens.spans.starts, tokens.lengths
        tokens.ids.tofile(self.stream)
        self.written += len(tokens.ids)

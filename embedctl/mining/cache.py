"""Arrays that cost time, kept on the disk under a digest of everything that they follow from.

A block's name holds the model's fingerprint (its weights among it) and the texts themselves, so a block of other
weights or texts has another name: nothing has to be invalidated, and a killed run finds what it had finished.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedctl import console
from embedctl.search.exact import Vectors
from embedctl.search.vectors import Encode
from embedctl.storage.writers import write_array
from embedctl.tokens.tokenize import tokenizer_fingerprint

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

BLOCK = 4096  # texts of a file: at most so many are encoded again after a kill
LIMIT_BYTES = 20 << 30


@dataclass
class ArrayCache:
    """A folder of float32 arrays."""

    folder: Path | None  # created if need be; None keeps nothing
    found: int = 0  # texts whose numbers were there already

    def fetch(self, recipe: str, texts: Sequence[str], compute: Callable[[], Vectors]) -> Vectors:
        """The array that follows from the recipe and the texts, its first axis theirs: read, or computed and kept."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{digest(recipe, texts)}.npy"
        stored = _read(path, len(texts))
        if stored is not None:
            self.found += len(texts)
            return stored
        array = compute()
        try:
            write_array(path, array.reshape(len(texts), -1))
        except OSError as cause:
            console.warn(f"the cache {self.folder} can't be written: {cause.strerror or cause}; going on without it")
            self.folder = None
        return array.reshape(len(texts), -1)

    def prune(self, limit: int = LIMIT_BYTES) -> None:
        """Remove the files that were used longest ago until at most `limit` bytes are left."""
        if self.folder is None or not self.folder.is_dir():
            return
        facts = sorted(((path.stat(), path) for path in self.folder.glob("*.npy")), key=lambda fact: fact[0].st_mtime)
        excess = sum(fact.st_size for fact, _ in facts) - limit
        for fact, path in facts:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= fact.st_size


def digest(recipe: str, texts: Iterable[str]) -> str:
    """A digest of a recipe and texts with their borders: no UTF-8 holds the byte between them."""
    state = hashlib.blake2b(digest_size=20)
    for text in (recipe, *texts):
        state.update(text.encode("utf-8", "surrogatepass"))
        state.update(b"\xff")
    return state.hexdigest()


def _read(path: Path, rows: int) -> Vectors | None:
    """The array of a file, or None where it is missing or damaged."""
    try:
        with warnings.catch_warnings(action="ignore"):
            array = np.load(path, allow_pickle=False)
        path.touch()
    except (OSError, ValueError, EOFError):
        return None
    return array if array.ndim == 2 and len(array) == rows and array.dtype == np.float32 else None


def fingerprint(embedder: Embedder) -> str:
    """Everything but prompt and texts that a vector follows from: weights, modules, tokenizer, lengths, types."""
    settings = {name: value for name, value in embedder.backbone.config.to_dict().items() if not name.startswith("_")}
    parts = (
        embedder.weights_hash(),
        re.sub(r"0x[0-9a-f]+", "", repr(embedder.model)),
        repr(sorted(settings.items(), key=lambda item: item[0])),
        tokenizer_fingerprint(embedder.tokenizer),
        str(embedder.max_len),
        str(embedder.dtype),
        embedder.device.type,
    )
    return digest("embedder", parts)


def kept_encode(embedder: Embedder, cache: ArrayCache) -> Encode:
    """`Embedder.encode` with vectors that the cache keeps block by block."""
    model = fingerprint(embedder) if cache.folder else ""

    def _encode(
        texts: Sequence[str], *, prompt: str, dim: int | None = None, show_progress: bool | str = False
    ) -> Vectors:
        output = np.zeros((len(texts), dim or embedder.dimension), dtype=np.float32)
        recipe = digest(model, (prompt, str(dim)))
        with console.progress_if(show_progress, "encode", len(texts), "texts") as bar:
            for start in range(0, len(texts), BLOCK):
                block = texts[start : start + BLOCK]
                found = cache.found
                compute = partial(embedder.encode, block, prompt=prompt, dim=dim, show_progress=bar or False)
                output[start : start + len(block)] = cache.fetch(recipe, block, compute)
                if bar and cache.found > found:
                    bar.advance(len(block))
        return output

    return _encode

"""Disk cache of embeddings and reranker scores.

The file name of a block is a digest of its texts and of everything else that the values depend on, for example the
weights of the model. An entry therefore never has to be invalidated, and a command that was interrupted finds the
blocks that it had finished. A file ends with the SHA-256 digest of its array in NumPy's format, so damage is found.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedctl import console
from embedctl.errors import OutputError
from embedctl.files import atomic_file
from embedctl.search.exact import Vectors
from embedctl.search.vectors import EncodeFunction
from embedctl.tokens.prompts import PromptKind
from embedctl.tokens.tokenize import tokenizer_fingerprint

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

TEXTS_PER_FILE = 4096  # the largest number of texts that are encoded again after an interruption
MAX_BYTES = 20 << 30
DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass
class ArrayCache:
    """A folder of float32 arrays, one file per block of texts."""

    folder: Path | None  # created when the first array is stored; None disables the cache
    hits: int = 0  # number of texts whose values were read from the cache

    def get_or_compute(self, fingerprint: str, texts: Sequence[str], compute: Callable[[], Vectors]) -> Vectors:
        """Return the cached array of a block of N texts, or compute and store it.

        The fingerprint is a digest of everything else that the values depend on. The first dimension of the array is N.
        """
        if self.folder is None:
            return compute()
        path = self.folder / f"{digest(fingerprint, texts)}.npy"
        stored = _read(path)
        if stored is not None:
            self.hits += len(texts)
            return stored
        array = compute().reshape(len(texts), -1)
        try:
            _write(path, array)
        except OutputError as error:
            console.warn(f"{error.message}. The command continues without a cache.")
            self.folder = None
        return array

    def prune(self, max_bytes: int = MAX_BYTES) -> None:
        """Delete the least recently used files until the files have at most `max_bytes` bytes in total."""
        if self.folder is None or not self.folder.is_dir():
            return
        files = []
        for path in self.folder.glob("*.npy"):
            with suppress(OSError):  # another process removed it, or it is a link without a target
                files.append((path.stat(), path))
        files.sort(key=lambda file: file[0].st_mtime)
        bytes_to_delete = sum(status.st_size for status, _ in files) - max_bytes
        for status, path in files:
            if bytes_to_delete <= 0:
                return
            path.unlink(missing_ok=True)
            bytes_to_delete -= status.st_size


def digest(fingerprint: str, texts: Iterable[str]) -> str:
    """Return a digest of a fingerprint and texts. The separator, byte 0xff, does not occur in UTF-8."""
    state = hashlib.blake2b(digest_size=20)
    for text in (fingerprint, *texts):
        state.update(text.encode("utf-8", "surrogatepass"))
        state.update(b"\xff")
    return state.hexdigest()


def _write(path: Path, array: Vectors) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    with atomic_file(path, "wb") as stream:
        stream.write(buffer.getbuffer())
        stream.write(hashlib.sha256(buffer.getbuffer()).digest())


def _read(path: Path) -> Vectors | None:
    """Return the array of a file and mark the file as used, or return None if it is missing or damaged."""
    try:
        content = path.read_bytes()
        path.touch()
    except OSError:
        return None
    array, written_digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if hashlib.sha256(array).digest() != written_digest:
        return None
    vectors: Vectors = np.load(io.BytesIO(array), allow_pickle=False)
    return vectors


def embedder_fingerprint(embedder: Embedder) -> str:
    """Return a digest of weights, modules, settings, tokenizer, maximum length, data type and device type.

    An embedding depends on these, on its text and on the prompt.
    """
    config = {name: value for name, value in embedder.backbone_settings.items() if not name.startswith("_")}
    parts = (
        embedder.weights_hash(),
        re.sub(r"0x[0-9a-f]+", "", repr(embedder.model)),
        repr(sorted(config.items())),
        tokenizer_fingerprint(embedder.tokenizer),
        str(embedder.max_len),
        embedder.similarity.name,  # a truncated embedding depends on it
        str(embedder.dtype),
        embedder.device.type,
    )
    return digest("embedder", parts)


def cached_encode(embedder: Embedder, cache: ArrayCache) -> EncodeFunction:
    """Return a function with the arguments of `Embedder.encode` that reads and stores embeddings block by block."""
    model = embedder_fingerprint(embedder) if cache.folder else ""

    def _encode(
        texts: Sequence[str],
        *,
        prompt: str,
        kind: PromptKind | None = None,
        dim: int | None = None,
        show_progress: bool | str = False,
    ) -> Vectors:
        vectors = np.zeros((len(texts), embedder.encoded_dimension(dim)), dtype=np.float32)
        fingerprint = digest(model, (embedder.prefix(kind, prompt), str(dim)))
        with console.progress_if(show_progress, "encode", len(texts), "texts") as bar:
            for start in range(0, len(texts), TEXTS_PER_FILE):
                block = texts[start : start + TEXTS_PER_FILE]
                hits = cache.hits
                compute = partial(embedder.encode, block, prompt=prompt, kind=kind, dim=dim, show_progress=bar or False)
                vectors[start : start + len(block)] = cache.get_or_compute(fingerprint, block, compute)
                if bar and cache.hits > hits:
                    bar.advance(len(block))
        return vectors

    return _encode

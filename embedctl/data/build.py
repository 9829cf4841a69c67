"""Build a token store from training files, in two passes and in constant memory.

The first pass hashes every text and writes the arrays of the rows. The hashes are partitioned by their leading bits and
sorted one partition at a time, so only a small part is in memory. The second pass tokenizes each distinct text once, on
all cores.

The name of a store is a digest of the bytes of the files, the tokenizer and the text settings. Later runs with the same
digest, and the other processes of a run, reuse the store.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.data.rows import Row, RowKind, read_rows
from embedctl.data.store import DTYPES, FACTS_FILE, KINDS, TrainingData, append_array, read_array, visits_with_explode
from embedctl.digests import find_damage, list_files, mark_checked
from embedctl.files import build_once
from embedctl.inputs import InputFiles
from embedctl.reading.hashes import HashPartitions, text_hash
from embedctl.tokens.pipeline import prefetch
from embedctl.tokens.spans import Integers
from embedctl.tokens.text_settings import TextSettings
from embedctl.tokens.tokenize import tokenize, tokenizer_fingerprint

VERSION = 6  # of the arrays of a store; a store of another version is not reused
ROWS_PER_BLOCK = 2048
HASHES_PER_BLOCK = 1 << 20


def open_or_build(files: Sequence[str], tokenizer: Any, settings: TextSettings, cache: Path) -> TrainingData:
    """Return the store of the files in the folder `cache`. If it does not exist yet, one process builds it.

    Meanwhile the other processes wait. `RowStore.source` contains indices into `files`.

    Raises:
        DataError: a row has an error.
    """
    with InputFiles.of(files).unchanged():
        folder = cache / _digest(files, tokenizer, settings)

        def _build_and_mark(work: Path) -> None:
            _build(files, tokenizer, settings, work)
            mark_checked(folder, work)

        build_once(folder, _build_and_mark, _is_undamaged)
    return TrainingData.open(folder)


def _is_undamaged(folder: Path) -> bool:
    """Return whether a store exists and all its files are as they were written."""
    if not folder.exists():
        return False
    try:
        damage = find_damage(folder, json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        damage = f"{FACTS_FILE} is missing or damaged"
    if damage:
        console.warn(f"{folder}: {damage}; the tokens are computed again")
    return damage is None


def _digest(files: Sequence[str], tokenizer: Any, settings: TextSettings) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in files:
        with Path(name).open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        digest.update(b"\0file\0")
    facts = [VERSION, asdict(settings), tokenizer_fingerprint(tokenizer)]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _build(files: Sequence[str], tokenizer: Any, settings: TextSettings, folder: Path) -> None:
    kinds, not_used = _write_rows(files, settings, folder)
    _write_text_ids(folder)
    _write_index(folder, kinds.total())
    (folder / "occurrence.bin").unlink()
    _write_tokens(files, tokenizer, settings, folder, kinds.total())
    lengths = read_array(folder, "lengths")
    facts = {
        "rows": kinds.total(),
        "texts": len(lengths),
        "tokens": int(lengths.sum()),
        "largest_token": int(read_array(folder, "tokens").max(initial=0)),
        "kinds": {kind.value: kinds[kind] for kind in KINDS if kinds[kind]},
        "not_used": not_used,  # number of rows per key of `NOT_USED`
    }
    files_of_store = sorted(path.name for path in folder.iterdir())
    (folder / FACTS_FILE).write_text(json.dumps(facts | {"files": list_files(folder, files_of_store)}))


def _blocks(files: Sequence[str]) -> Iterator[tuple[int, list[Row]]]:
    """Yield the rows of all files in blocks, each with the index of its file."""
    for source, name in enumerate(files):
        rows = read_rows(name)
        while block := list(islice(rows, ROWS_PER_BLOCK)):
            yield source, block


def _write_rows(files: Sequence[str], settings: TextSettings, folder: Path) -> tuple[Counter[RowKind], Counter[str]]:
    """Write all arrays of the rows except for the text ids.

    Return the number of rows per kind, and per key that training does not use.
    """
    kinds, not_used = Counter[RowKind](), Counter[str]()
    texts = 0
    append_array(folder, "bounds", [0])
    with console.progress("read rows", None, "rows") as bar:
        for source, block in _blocks(files):
            for name, values in _arrays(source, block, settings).items():
                append_array(folder, name, values)
            bounds = texts + np.cumsum([1 + len(row.pos) + len(row.neg) for row in block])
            append_array(folder, "bounds", bounds)
            texts = int(bounds[-1])
            kinds.update(row.kind for row in block)
            not_used.update(row.not_used for row in block if row.not_used)
            bar.advance(len(block))
    return kinds, not_used


def _arrays(source: int, block: list[Row], settings: TextSettings) -> dict[str, list[Any]]:
    """Return the values of a block of rows for each array, by the name of the array."""
    return {
        "kind": [KINDS.index(row.kind) for row in block],
        "source": [source] * len(block),
        "pos_count": [len(row.pos) for row in block],
        "score": [score for row in block for score in _scores(row)],
        "query_as_passage": [_passage_hash(settings.passage(row.query)) for row in block],
        "occurrence": [hashed for row in block for hashed in _hashes(row, settings)],
    }


def _hashes(row: Row, settings: TextSettings) -> list[int]:
    """Return the hashes of the texts of a row.

    A query and a passage with the same text have different hashes, because they can be truncated to different lengths.
    """
    passages = (_passage_hash(settings.passage(text)) for text in (*row.pos, *row.neg))
    return [text_hash("q\0" + settings.query(row.query, row.prompt)), *passages]


def _passage_hash(text: str) -> int:
    return text_hash("p\0" + text)


def _scores(row: Row) -> list[float]:
    nan = float("nan")
    pos_scores = list(row.pos_scores or row.scores) or [nan] * len(row.pos)
    return [nan, *pos_scores, *(list(row.neg_scores) or [nan] * len(row.neg))]


def _occurrences(folder: Path) -> Iterator[NDArray[np.uint64]]:
    """Yield the hashes of all texts of all rows, in the order of the rows and in blocks."""
    with (folder / "occurrence.bin").open("rb") as stream:
        while len(block := np.fromfile(stream, dtype=np.uint64, count=HASHES_PER_BLOCK)):
            yield block


def _write_text_ids(folder: Path) -> None:
    """Write the distinct hashes in ascending order, and the id of each text, which is the index of its hash."""
    partitions = HashPartitions(folder)
    for block in _occurrences(folder):
        partitions.add(np.unique(block))
    for part in partitions.sorted_partitions():
        append_array(folder, "hashes", np.unique(part))
    hashes = read_array(folder, "hashes")
    for block in _occurrences(folder):
        append_array(folder, "text", np.searchsorted(hashes, block))


def _write_index(folder: Path, rows: int) -> None:
    """Write the index of the rows by query, and the cumulative sum of the visits.

    Rows have to be sorted by the text id of their query. They are sorted by the hash of their query instead, partition
    by partition. The order is the same, because ids have the order of the hashes.
    """
    kind, bounds, pos_count, text_ids, hashes = (
        read_array(folder, name) for name in ("kind", "bounds", "pos_count", "text", "occurrence")
    )
    partitions, visits = HashPartitions(folder, width=3), 0  # hash and text id of the query, row
    for start in range(0, rows, HASHES_PER_BLOCK):
        row = np.arange(start, min(start + HASHES_PER_BLOCK, rows))
        ends = visits + np.cumsum(visits_with_explode(kind[row], pos_count[row]))
        append_array(folder, "positive_ends", ends)
        visits, first_text = int(ends[-1]), bounds[row]  # the first text of a row is its query
        keys = hashes[first_text], text_ids[first_text].astype(np.uint64), row.astype(np.uint64)
        partitions.add(np.stack(keys, axis=1))
    for part in partitions.sorted_partitions():
        append_array(folder, "sorted_query", part[:, 1])
        append_array(folder, "rows_by_query", part[:, 2])


def _write_tokens(files: Sequence[str], tokenizer: Any, settings: TextSettings, folder: Path, rows: int) -> None:
    """Tokenize each distinct text at its first occurrence."""
    text_ids, bounds, first_row = read_array(folder, "text"), read_array(folder, "bounds"), 0
    tokens = _TokenWriter(folder, tokenizer)
    with console.progress("tokenize", rows, "rows") as bar:
        # The next block is read on a thread during tokenization, which releases the GIL.
        for _source, block in prefetch(_blocks(files)):
            block_bounds = bounds[first_row : first_row + len(block) + 1]
            ids, queries = text_ids[block_bounds[0] : block_bounds[-1]], block_bounds[:-1] - block_bounds[0]
            tokens.add(ids[queries], [settings.query(row.query, row.prompt) for row in block], settings.query_max_len)
            passages = [settings.passage(text) for row in block for text in (*row.pos, *row.neg)]
            tokens.add(np.delete(ids, queries), passages, settings.passage_max_len)
            first_row += len(block)
            bar.advance(len(block))


class _TokenWriter:
    """Tokenizes texts and writes their tokens, once per distinct text, in the order in which the texts are added."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self.folder, self.tokenizer, self.tokens_written = folder, tokenizer, 0
        self.starts, self.lengths = (
            np.memmap(folder / f"{name}.bin", DTYPES[name], "w+", shape=read_array(folder, "hashes").shape)
            for name in ("starts", "lengths")
        )

    def add(self, ids: Integers, texts: Sequence[str], max_len: int | None) -> None:
        """Tokenize the texts that have no tokens yet, truncated to `max_len` tokens. `ids` may contain duplicates."""
        distinct, first_index = np.unique(ids, return_index=True)
        new = np.sort(first_index[self.lengths[distinct] == 0])
        tokens = tokenize(self.tokenizer, [texts[index] for index in new], max_len)
        self.starts[ids[new]], self.lengths[ids[new]] = self.tokens_written + tokens.spans.starts, tokens.lengths
        append_array(self.folder, "tokens", tokens.ids)
        self.tokens_written += len(tokens.ids)

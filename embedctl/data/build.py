"""Building a store: two passes over the files, in memory that does not grow with them.

The first pass hashes every text and writes the rows' shape; the hashes are sorted apart by their leading bits, so that
only a small share is in memory at a time. The second pass tokenises each distinct text once, on all cores. A store is
keyed by the bytes of the files and by what turns a text into tokens, and reused by later runs and by the other
processes of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.data.rows import Row, RowKind, read_rows
from embedctl.data.store import DTYPES, KINDS, TrainingData, append, read_array, visits_with_explode
from embedctl.files import build_once
from embedctl.reading.hashes import HashPartitions, text_hash
from embedctl.tokens.pipeline import prefetch
from embedctl.tokens.prompts import first_prompt
from embedctl.tokens.spans import Integers
from embedctl.tokens.tokenize import tokenize, tokenizer_fingerprint

VERSION = 3
ROWS_PER_BLOCK = 2048
HASHES_PER_BLOCK = 1 << 20
Block = tuple[int, list[Row]]
KIND_NUMBER = {kind: number for number, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class TextSettings:
    """What turns a row's texts into tokens, beside the tokenizer."""

    query_max_len: int  # tokens of a query
    passage_max_len: int  # tokens of a passage
    query_prompt: str = ""  # put before a query, unless its row has a prompt
    passage_prompt: str = ""  # put before a passage

    def query(self, row: Row) -> str:
        """A row's query as the model sees it."""
        return first_prompt(row.prompt, self.query_prompt) + row.query

    def passages(self, row: Row) -> list[str]:
        """A row's positives, then its negatives, as the model sees them."""
        return [self.passage_prompt + text for text in (*row.pos, *row.neg)]


def open_or_build(files: Sequence[str], tokenizer: Any, text_settings: TextSettings, cache: Path) -> TrainingData:
    """The store of these files, built if no earlier run did; one process builds while the others wait.

    `RowStore.source` counts the files in their order; `cache` is the folder of all stores.

    Raises:
        DataError: a row is wrong.
    """
    folder = cache / _key(files, tokenizer, text_settings)
    return TrainingData.open(build_once(folder, lambda work: _build(files, tokenizer, text_settings, work)))


def _key(files: Sequence[str], tokenizer: Any, text_settings: TextSettings) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in files:
        with Path(name).open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        digest.update(b"\0file\0")
    facts = [VERSION, asdict(text_settings), tokenizer_fingerprint(tokenizer)]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _build(files: Sequence[str], tokenizer: Any, text_settings: TextSettings, folder: Path) -> None:
    kinds = _write_rows(files, text_settings, folder)
    _write_hashes(folder)
    _write_text_ids(folder)
    _write_index(folder, kinds.total())
    (folder / "occurrence.bin").unlink()
    _write_tokens(files, tokenizer, text_settings, folder, kinds.total())
    lengths = read_array(folder, "lengths")
    facts = {
        "rows": kinds.total(),
        "texts": len(lengths),
        "tokens": int(lengths.sum()),
        "kinds": {kind.value: kinds[kind] for kind in KINDS if kinds[kind]},
    }
    (folder / "facts.json").write_text(json.dumps(facts))


def _blocks(files: Sequence[str]) -> Iterator[Block]:
    """The rows of all files, a few at a time, with the number of their file."""
    for number, name in enumerate(files):
        rows = read_rows(name)
        while block := list(islice(rows, ROWS_PER_BLOCK)):
            yield number, block


def _write_rows(files: Sequence[str], text_settings: TextSettings, folder: Path) -> Counter[RowKind]:
    """Everything about the rows but their text ids; returns how many rows of each kind there are."""
    kinds: Counter[RowKind] = Counter()
    texts = 0
    append(folder, "bounds", [0])
    with console.progress("read rows", None, "rows") as bar:
        for source, block in _blocks(files):
            for name, values in _arrays(source, block, text_settings).items():
                append(folder, name, values)
            bounds = texts + np.cumsum([1 + len(row.pos) + len(row.neg) for row in block])
            append(folder, "bounds", bounds)
            texts = int(bounds[-1])
            kinds.update(row.kind for row in block)
            bar.advance(len(block))
    return kinds


def _arrays(source: int, block: list[Row], text_settings: TextSettings) -> dict[str, list[Any]]:
    """What is written of some rows of a file, by the name of the array."""
    return {
        "kind": [KIND_NUMBER[row.kind] for row in block],
        "source": [source] * len(block),
        "pos_count": [len(row.pos) for row in block],
        "score": [score for row in block for score in _scores(row)],
        "query_as_passage": [_passage_hash(text_settings.passage_prompt + row.query) for row in block],
        "occurrence": [hashed for row in block for hashed in _hashes(row, text_settings)],
    }


def _hashes(row: Row, text_settings: TextSettings) -> list[int]:
    """A query and a passage of the same text differ: they may be cut at different lengths."""
    return [text_hash("q\0" + text_settings.query(row)), *map(_passage_hash, text_settings.passages(row))]


def _passage_hash(text: str) -> int:
    return text_hash("p\0" + text)


def _scores(row: Row) -> list[float]:
    none = float("nan")
    graded = list(row.pos_scores or row.scores) or [none] * len(row.pos)
    return [none, *graded, *(list(row.neg_scores) or [none] * len(row.neg))]


def _occurrences(folder: Path) -> Iterator[NDArray[np.uint64]]:
    """The hash of each text of each row, in order, a block at a time."""
    with (folder / "occurrence.bin").open("rb") as stream:
        while len(block := np.fromfile(stream, dtype=np.uint64, count=HASHES_PER_BLOCK)):
            yield block


def _write_hashes(folder: Path) -> None:
    """The distinct hashes in ascending order."""
    parts = HashPartitions(folder)
    for block in _occurrences(folder):
        parts.add(np.unique(block))
    for part in parts.sorted_partitions():
        append(folder, "hashes", np.unique(part))


def _write_text_ids(folder: Path) -> None:
    hashes = read_array(folder, "hashes")
    for block in _occurrences(folder):
        append(folder, "text", np.searchsorted(hashes, block))


def _write_index(folder: Path, rows: int) -> None:
    """Where rows are found: ids ascend with hashes, so rows sorted by their query's hash are sorted by its id."""
    kind, bounds, pos_count, text, hashes = (
        read_array(folder, name) for name in ("kind", "bounds", "pos_count", "text", "occurrence")
    )
    parts, visits = HashPartitions(folder, width=3), 0
    for start in range(0, rows, HASHES_PER_BLOCK):
        row = np.arange(start, min(start + HASHES_PER_BLOCK, rows))
        ends = visits + np.cumsum(visits_with_explode(kind[row], pos_count[row]))
        append(folder, "positive_ends", ends)
        visits, place = int(ends[-1]), bounds[row]
        parts.add(np.stack([hashes[place], text[place].astype(np.uint64), row.astype(np.uint64)], axis=1))
    for part in parts.sorted_partitions():
        append(folder, "sorted_query", part[:, 1])
        append(folder, "rows_by_query", part[:, 2])


def _write_tokens(files: Sequence[str], tokenizer: Any, text_settings: TextSettings, folder: Path, rows: int) -> None:
    """Tokenise each distinct text where it occurs first."""
    text, bounds, first = read_array(folder, "text"), read_array(folder, "bounds"), 0
    tokens = _TokenWriter(folder, tokenizer)
    with console.progress("tokenise", rows, "rows") as bar:
        for _source, block in prefetch(_blocks(files)):  # read while the last one is tokenised, which needs no GIL
            borders = bounds[first : first + len(block) + 1]
            ids, queries = text[borders[0] : borders[-1]], borders[:-1] - borders[0]
            tokens.add(ids[queries], [text_settings.query(row) for row in block], text_settings.query_max_len)
            passages = [passage for row in block for passage in text_settings.passages(row)]
            tokens.add(np.delete(ids, queries), passages, text_settings.passage_max_len)
            first += len(block)
            bar.advance(len(block))


class _TokenWriter:
    """Writes the tokens of texts, each text once, in the order in which they are added."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self.folder, self.tokenizer, self.written = folder, tokenizer, 0
        self.starts, self.lengths = (
            np.memmap(folder / f"{name}.bin", DTYPES[name], "w+", shape=read_array(folder, "hashes").shape)
            for name in ("starts", "lengths")
        )

    def add(self, ids: Integers, texts: Sequence[str], max_len: int) -> None:
        """Tokenise those of the texts that have no tokens yet, cut to `max_len`; `ids` are theirs and may repeat."""
        distinct, places = np.unique(ids, return_index=True)
        fresh = np.sort(places[self.lengths[distinct] == 0])
        tokens = tokenize(self.tokenizer, [texts[place] for place in fresh], max_len)
        self.starts[ids[fresh]], self.lengths[ids[fresh]] = self.written + tokens.spans.starts, tokens.lengths
        append(self.folder, "tokens", tokens.ids)
        self.written += len(tokens.ids)

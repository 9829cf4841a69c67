"""Building a store: two passes over the files, in memory that does not grow with them.

The first pass hashes every text and writes the rows' shape; the hashes are sorted apart by their leading bits, so that
only a small share is in memory at a time. The second pass tokenises each distinct text once, on all cores. A store is
keyed by the bytes of the files and by what turns a text into tokens, and reused by later runs and by the other
processes of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.data.formats import read_rows
from embedctl.data.rows import Row
from embedctl.data.store import DTYPES, KINDS, TrainingData, read_array, visits_of
from embedctl.data.token_writer import TokenWriter
from embedctl.files import build_once
from embedctl.reading.hashes import HashParts, text_hash
from embedctl.tokens.fingerprint import tokenizer_fingerprint
from embedctl.tokens.pipeline import taken_ahead

VERSION = 3
ROWS_AT_A_TIME = 2048
HASHES_AT_A_TIME = 1 << 20
Block = tuple[int, list[Row]]
KIND_NUMBER = {kind: number for number, kind in enumerate(KINDS)}


@dataclass(frozen=True)
class Recipe:
    """What turns a row's texts into tokens, beside the tokenizer.

    Args:
        query_max_len: tokens of a query.
        passage_max_len: tokens of a passage.
        query_prompt: put before a query, unless its row has a prompt.
        passage_prompt: put before a passage.
    """

    query_max_len: int
    passage_max_len: int
    query_prompt: str = ""
    passage_prompt: str = ""

    def query(self, row: Row) -> str:
        """A row's query as the model sees it."""
        return (self.query_prompt if row.prompt is None else row.prompt) + row.query

    def passages(self, row: Row) -> list[str]:
        """A row's positives, then its negatives, as the model sees them."""
        return [self.passage_prompt + text for text in (*row.pos, *row.neg)]


def open_or_build(files: Sequence[str], tokenizer: Any, recipe: Recipe, cache: Path) -> TrainingData:
    """The store of these files, built if no earlier run did; one process builds while the others wait.

    Args:
        files: data files, in the order that `RowStore.source` counts.
        tokenizer: a transformers tokenizer.
        recipe: lengths and prompts.
        cache: the folder of all stores.

    Raises:
        DataError: a row is wrong.
    """
    folder = cache / _key(files, tokenizer, recipe)
    return TrainingData.open(build_once(folder, lambda work: _build(files, tokenizer, recipe, work)))


def _key(files: Sequence[str], tokenizer: Any, recipe: Recipe) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in files:
        with Path(name).open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        digest.update(b"\0file\0")
    facts = [VERSION, asdict(recipe), tokenizer_fingerprint(tokenizer)]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _build(files: Sequence[str], tokenizer: Any, recipe: Recipe, folder: Path) -> None:
    rows = _write_shapes(files, recipe, folder)
    _write_hashes(folder)
    _write_text_ids(folder)
    _write_index(folder, rows)
    (folder / "occurrence.bin").unlink()
    _write_tokens(files, tokenizer, recipe, folder, rows)
    kind = read_array(folder, "kind")
    kinds = np.sum([np.bincount(kind[block], minlength=len(KINDS)) for block in _slices(rows)], axis=0)
    lengths = read_array(folder, "lengths")
    facts = {
        "rows": rows,
        "texts": len(lengths),
        "tokens": int(lengths.sum()),
        "kinds": {kind.value: int(count) for kind, count in zip(KINDS, kinds, strict=True) if count},
    }
    (folder / "facts.json").write_text(json.dumps(facts))


def _blocks(files: Sequence[str]) -> Iterator[Block]:
    """The rows of all files, a few at a time, with the number of their file."""
    for number, name in enumerate(files):
        rows = read_rows(name)
        while block := list(islice(rows, ROWS_AT_A_TIME)):
            yield number, block


def _hashes(row: Row, recipe: Recipe) -> list[int]:
    """A query and a passage of the same text differ: they may be cut at different lengths."""
    return [text_hash("q\0" + recipe.query(row)), *map(_passage_hash, recipe.passages(row))]


def _passage_hash(text: str) -> int:
    return text_hash("p\0" + text)


def _scores(row: Row) -> list[float]:
    none = float("nan")
    graded = list(row.pos_scores or row.scores) or [none] * len(row.pos)
    return [none, *graded, *(list(row.neg_scores) or [none] * len(row.neg))]


SHAPES: dict[str, Callable[[int, Row, Recipe], list[Any]]] = {
    "kind": lambda _source, row, _recipe: [KIND_NUMBER[row.kind]],
    "source": lambda source, _row, _recipe: [source],
    "pos_count": lambda _source, row, _recipe: [len(row.pos)],
    "score": lambda _source, row, _recipe: _scores(row),
    "query_as_passage": lambda _source, row, recipe: [_passage_hash(recipe.passage_prompt + row.query)],
}


def _write_shapes(files: Sequence[str], recipe: Recipe, folder: Path) -> int:
    """Everything about the rows but their text ids; returns how many there are."""
    rows, texts = 0, 0
    with ExitStack() as stack, console.progress("read rows", None, "rows") as bar:
        out = {name: _append(stack, folder, name) for name in (*SHAPES, "bounds", "occurrence")}
        np.zeros(1, dtype=np.int64).tofile(out["bounds"])
        for source, block in _blocks(files):
            for name, values in SHAPES.items():
                found = [value for row in block for value in values(source, row, recipe)]
                np.array(found, dtype=DTYPES[name]).tofile(out[name])
            hashes = [_hashes(row, recipe) for row in block]
            bounds = texts + np.cumsum([len(row) for row in hashes])
            bounds.astype(np.int64).tofile(out["bounds"])
            np.array([value for row in hashes for value in row], dtype=np.uint64).tofile(out["occurrence"])
            texts, rows = int(bounds[-1]), rows + len(block)
            bar.advance(len(block))
    return rows


def _append(stack: ExitStack, folder: Path, name: str) -> BinaryIO:
    return stack.enter_context((folder / f"{name}.bin").open("wb"))


def _occurrences(folder: Path) -> Iterator[NDArray[np.uint64]]:
    """The hash of each text of each row, in order, a block at a time."""
    with (folder / "occurrence.bin").open("rb") as stream:
        while len(block := np.fromfile(stream, dtype=np.uint64, count=HASHES_AT_A_TIME)):
            yield block


def _write_hashes(folder: Path) -> None:
    """The distinct hashes in ascending order."""
    parts = HashParts(folder / "parts")
    for block in _occurrences(folder):
        parts.add(np.unique(block))
    with (folder / "hashes.bin").open("wb") as stream:
        for part in parts.sorted_parts():
            np.unique(part).tofile(stream)
    (folder / "parts").rmdir()


def _write_text_ids(folder: Path) -> None:
    hashes = read_array(folder, "hashes")
    with (folder / "text.bin").open("wb") as stream:
        for block in _occurrences(folder):
            np.searchsorted(hashes, block).astype(np.int64).tofile(stream)


def _write_index(folder: Path, rows: int) -> None:
    """Where rows are found: ids ascend with hashes, so rows sorted by their query's hash are sorted by its id."""
    kind, bounds, pos_count, text, hashes = (
        read_array(folder, name) for name in ("kind", "bounds", "pos_count", "text", "occurrence")
    )
    parts, visits = HashParts(folder / "parts", width=3), 0
    with ExitStack() as stack:
        out = {name: _append(stack, folder, name) for name in ("rows_by_query", "sorted_query", "positive_ends")}
        for block in _slices(rows):
            ends = visits + np.cumsum(visits_of(kind[block], pos_count[block]))
            ends.tofile(out["positive_ends"])
            visits, place = int(ends[-1]), bounds[block]
            row = np.arange(block.start, block.stop, dtype=np.uint64)
            parts.add(np.stack([hashes[place], text[place].astype(np.uint64), row], axis=1))
        for part in parts.sorted_parts():
            part[:, 1].astype(np.int64).tofile(out["sorted_query"])
            part[:, 2].astype(np.int64).tofile(out["rows_by_query"])
    (folder / "parts").rmdir()


def _slices(rows: int) -> Iterator[slice]:
    return (slice(start, min(start + HASHES_AT_A_TIME, rows)) for start in range(0, rows, HASHES_AT_A_TIME))


def _write_tokens(files: Sequence[str], tokenizer: Any, recipe: Recipe, folder: Path, rows: int) -> None:
    """Tokenise each distinct text where it occurs first."""
    text, bounds, first = read_array(folder, "text"), read_array(folder, "bounds"), 0
    with TokenWriter(folder, tokenizer) as tokens, console.progress("tokenise", rows, "rows") as bar:
        for _source, block in taken_ahead(_blocks(files)):  # read while the last one is tokenised, which needs no GIL
            borders = bounds[first : first + len(block) + 1]
            ids, queries = text[borders[0] : borders[-1]], borders[:-1] - borders[0]
            tokens.add(ids[queries], [recipe.query(row) for row in block], recipe.query_max_len)
            passages = [passage for row in block for passage in recipe.passages(row)]
            tokens.add(np.delete(ids, queries), passages, recipe.passage_max_len)
            first += len(block)
            bar.advance(len(block))

"""Rows and texts as memory-mapped arrays: each distinct text once, each row as numbers.

A text's id is the rank of its hash among all hashes, so equal texts have equal ids in every row and file and no table
has to be kept in memory. `build.py` writes the folder that is opened here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedctl.data.rows import RowKind
from embedctl.tokens.packing import Ragged
from embedctl.tokens.spans import Integers, Spans

KINDS = list(RowKind)
GRADED = KINDS.index(RowKind.GRADED)
KINDS_WITHOUT_SCORES = [KINDS.index(kind) for kind in (RowKind.IN_BATCH, RowKind.HARD)]  # others have scores of their own texts
DTYPES: dict[str, Any] = {
    "hashes": np.uint64,
    "starts": np.int64,
    "lengths": np.int64,
    "tokens": np.int32,
    "kind": np.uint8,
    "source": np.int32,
    "bounds": np.int64,
    "pos_count": np.int64,
    "text": np.int64,
    "occurrence": np.uint64,
    "score": np.float32,
    "query_as_passage": np.uint64,
    "rows_by_query": np.int64,
    "sorted_query": np.int64,
    "positive_ends": np.int64,
}


def read_array(folder: Path, name: str) -> NDArray[Any]:
    """The array `name` of a store, memory-mapped."""
    path = folder / f"{name}.bin"
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=DTYPES[name])
    return np.memmap(path, dtype=DTYPES[name], mode="r")


def append(folder: Path, name: str, values: ArrayLike) -> None:
    """Add values at the end of the array `name` of a store that is being written."""
    with (folder / f"{name}.bin").open("ab") as stream:
        np.asarray(values, dtype=DTYPES[name]).tofile(stream)


@dataclass(frozen=True)
class TextStore:
    """N distinct texts. `hashes` (N,) ascending, `starts` and `lengths` (N,) into `tokens` (all tokens)."""

    hashes: NDArray[np.uint64]
    starts: Integers
    lengths: Integers
    tokens: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.hashes)

    def tokens_of(self, ids: Integers) -> Ragged:
        """The tokens of the texts `ids`."""
        spans = Spans(self.starts[ids], self.lengths[ids])
        return Ragged(spans.take(self.tokens), spans.lengths)


@dataclass(frozen=True)
class RowsByKey:
    """Rows sorted by a key, so that all rows of a key are found without going through the others.

    `keys` (R,) ascending, `rows` (R,) the row of each; rows of equal keys ascend.
    """

    keys: NDArray[Any]
    rows: Integers

    @classmethod
    def of(cls, key_R: NDArray[Any]) -> RowsByKey:
        """The rows sorted by the key of each."""
        order = np.argsort(key_R, kind="stable")
        return cls(key_R[order], order)

    def find(self, wanted_K: NDArray[Any]) -> tuple[Integers, Integers]:
        """All M rows that have one of the wanted keys: (M,) the number of the key, ascending, and (M,) the row."""
        first, end = (np.searchsorted(self.keys, wanted_K, side=side) for side in ("left", "right"))
        found = Spans(first, end - first)
        return found.span_indices, found.take(self.rows)


def visits_with_explode(kind: NDArray[np.uint8], pos_count: Integers) -> Integers:
    """How often each row is visited if each positive is a visit; a graded row, whose texts belong together, is one."""
    return np.where(kind == GRADED, 1, pos_count)


@dataclass(frozen=True)
class RowStore:
    """R rows. Row r owns `text[bounds[r]:bounds[r+1]]`: its query, then its positives, then its negatives.

    `score` has the shape of `text`: a grade or a teacher's score, NaN for none. `kind` (R,) indexes `KINDS`,
    `source` (R,) the files, ascending, `pos_count` (R,) says how many positives there are. `by_query` finds
    the rows of a query's text id, and `positive_ends` (R,) counts the visits (`visits_with_explode`) up to and with each row.
    """

    kind: NDArray[np.uint8]
    source: NDArray[np.int32]
    bounds: Integers
    pos_count: Integers
    text: Integers
    score: NDArray[np.float32]
    by_query: RowsByKey
    positive_ends: Integers

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def query(self) -> Integers:
        """(R,) each row's query."""
        return self.query_of(np.arange(len(self)))

    def query_of(self, row: Integers) -> Integers:
        """The query of each of some rows."""
        return np.asarray(self.text[self.bounds[row]])

    def positives(self, row: Integers) -> Spans:
        """Where in `text` the positives of each of some rows are."""
        return Spans(self.bounds[row] + 1, self.pos_count[row])

    def negatives(self, row: Integers) -> Spans:
        """Where in `text` the negatives of each of some rows are."""
        start = self.positives(row).ends
        return Spans(start, self.bounds[row + 1] - start)

    def with_negatives(self, mined_QN: Integers, query_R: Integers) -> RowStore:
        """The rows with other negatives, which have no scores; what finds rows stays, as queries and positives do.

        Row r gets the text ids `mined_QN[query_R[r]]`, where -1 is none. It keeps its own negatives if `query_R[r]` is
        -1, or if there are none.
        """
        there = mined_QN >= 0
        mined, number_Q = mined_QN[there], there.sum(axis=1)
        mined_R = Spans.from_lengths(number_Q, first=len(self.text))[query_R]  # they are appended to the rows' texts
        kept, own = Spans(self.bounds[:-1], 1 + self.pos_count), self.negatives(np.arange(len(self)))
        replaced_R = (query_R >= 0) & (mined_R.lengths > 0)
        negatives = Spans.where(replaced_R, mined_R, own)
        rows = Spans.interleave(kept, negatives)
        unscored = np.full(len(mined), np.nan, dtype=np.float32)
        return replace(
            self,
            bounds=np.append(0, np.cumsum(kept.lengths + negatives.lengths)),
            text=rows.take(np.concatenate([self.text, mined])),
            score=rows.take(np.concatenate([self.score, unscored])),
        )


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from, opened from a store folder.

    `query_as_passage` (R,) is the hash that each row's query has where it is a passage: the same whatever the row's
    prompt.
    """

    texts: TextStore
    rows: RowStore
    query_as_passage: NDArray[np.uint64]
    facts: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> TrainingData:
        """The store in `folder`."""
        array = partial(read_array, folder)
        facts = json.loads((folder / "facts.json").read_text())
        texts = TextStore(array("hashes"), array("starts"), array("lengths"), array("tokens"))
        by_query = RowsByKey(array("sorted_query"), array("rows_by_query"))
        names = ("kind", "source", "bounds", "pos_count", "text", "score", "positive_ends")
        rows = RowStore(**{name: array(name) for name in names}, by_query=by_query)
        return cls(texts, rows, array("query_as_passage"), facts)

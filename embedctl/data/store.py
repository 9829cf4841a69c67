"""Rows and texts as memory-mapped arrays: each distinct text once, each row as numbers.

A text's id is the rank of its hash among all hashes, so equal texts have equal ids in every row and file and no table
has to be kept in memory. `build.py` writes the folder that is opened here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl.data.rows import RowKind
from embedctl.tokens.packing import Integers, Ragged, gather

KINDS = list(RowKind)
GRADED = KINDS.index(RowKind.GRADED)
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


@dataclass(frozen=True)
class TextStore:
    """N distinct texts. `hashes` (N,) ascending, `starts` and `lengths` (N,) into `tokens` (all tokens)."""

    hashes: NDArray[np.uint64]
    starts: Integers
    lengths: Integers
    tokens: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.hashes)

    def ragged(self, ids: Integers) -> Ragged:
        """The tokens of the texts `ids`."""
        lengths = np.asarray(self.lengths[ids])
        return Ragged(gather(self.tokens, np.asarray(self.starts[ids]), lengths), lengths)


@dataclass(frozen=True)
class RowIndex:
    """Where rows are found: `rows_by_query` (R,) sorted by query, then by row; `sorted_query` (R,) the query of each.

    `positive_ends` (R,) counts the positives up to a row's last; a graded row, whose texts belong together, counts as
    one.
    """

    rows_by_query: Integers
    sorted_query: Integers
    positive_ends: Integers

    @classmethod
    def of(cls, rows: RowStore) -> RowIndex:
        """The index of rows that lie in memory."""
        order = np.argsort(rows.query, kind="stable")
        return cls(order, rows.query[order], np.cumsum(visits_of(rows.kind, rows.pos_count)))


def visits_of(kind: NDArray[np.uint8], pos_count: Integers) -> Integers:
    """How often each row is visited if each positive is a visit of its own."""
    return np.where(kind == GRADED, 1, pos_count)


@dataclass(frozen=True)
class RowStore:
    """R rows. Row r owns `text[bounds[r]:bounds[r+1]]`: its query, then its positives, then its negatives.

    `score` has the shape of `text`: a grade or a teacher's score, NaN for none. `kind` (R,) indexes `KINDS`,
    `source` (R,) the files, ascending, `pos_count` (R,) says how many positives there are.
    """

    kind: NDArray[np.uint8]
    source: NDArray[np.int32]
    bounds: Integers
    pos_count: Integers
    text: Integers
    score: NDArray[np.float32]
    ready_index: RowIndex | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def index(self) -> RowIndex:
        """The index that was built with the rows, or one made now."""
        return self.ready_index or RowIndex.of(self)

    @property
    def query(self) -> Integers:
        """(R,) each row's query."""
        return np.asarray(self.text[self.bounds[:-1]])

    def with_negatives(self, mined_QN: Integers, query_R: Integers) -> RowStore:
        """The rows with other negatives, which have no scores; their index stays, as queries and positives do.

        Args:
            mined_QN: text ids, -1 for none.
            query_R: whose of them each row gets; a row with -1, or of whom there are none, keeps its own.
        """
        there = mined_QN >= 0
        mined, number_Q = mined_QN[there], np.append(there.sum(axis=1), 0)  # the last is that of -1
        first_Q = len(self.text) + np.cumsum(number_Q) - number_Q
        begin, head = np.asarray(self.bounds[:-1]), 1 + np.asarray(self.pos_count)
        fresh = number_Q[query_R] > 0
        tail = np.where(fresh, number_Q[query_R], np.diff(self.bounds) - head)
        starts = np.stack([begin, np.where(fresh, first_Q[query_R], begin + head)], axis=1).ravel()
        lengths = np.stack([head, tail], axis=1).ravel()
        unscored = np.full(len(mined), np.nan, dtype=np.float32)
        return replace(
            self,
            bounds=np.concatenate([[0], np.cumsum(head + tail)]),
            text=gather(np.concatenate([self.text, mined]), starts, lengths),
            score=gather(np.concatenate([self.score, unscored]), starts, lengths),
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

        def array(name: str) -> NDArray[Any]:
            return read_array(folder, name)

        facts = json.loads((folder / "facts.json").read_text())
        texts = TextStore(array("hashes"), array("starts"), array("lengths"), array("tokens"))
        index = RowIndex(array("rows_by_query"), array("sorted_query"), array("positive_ends"))
        row_arrays = (array(name) for name in ("kind", "source", "bounds", "pos_count", "text", "score"))
        rows = RowStore(*row_arrays, ready_index=index)
        return cls(texts, rows, array("query_as_passage"), facts)

"""The token store: the distinct texts of the training files and their rows, in memory-mapped arrays.

The id of a text is the index of its hash in the sorted array of all hashes. Equal texts therefore have equal ids in all
rows and files, and no table from text to id has to be kept in memory. `build.py` writes the folder of a store.
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

FACTS_FILE = "facts.json"
KINDS = list(RowKind)
GRADED = KINDS.index(RowKind.GRADED)
# Indices into KINDS. Rows of the other kinds have a score for each of their own texts.
KINDS_WITHOUT_SCORES = [KINDS.index(kind) for kind in (RowKind.IN_BATCH, RowKind.HARD)]
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
    """Return the one-dimensional array `name` of a store, memory-mapped."""
    path = folder / f"{name}.bin"
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=DTYPES[name])
    return np.memmap(path, dtype=DTYPES[name], mode="r")


def append_array(folder: Path, name: str, values: ArrayLike) -> None:
    """Append values to the array `name` of a store that is being written."""
    with (folder / f"{name}.bin").open("ab") as stream:
        np.asarray(values, dtype=DTYPES[name]).tofile(stream)


@dataclass(frozen=True)
class TextStore:
    """The tokens of N distinct texts. A text that is both a query and a passage counts as two texts."""

    hashes: NDArray[np.uint64]  # (N,) in ascending order
    starts: Integers  # (N,) index of each text's first token in `tokens`
    lengths: Integers  # (N,) number of tokens per text
    tokens: NDArray[np.int32]  # (sum of lengths,) token ids of all texts, in the order in which they were written

    def __len__(self) -> int:
        return len(self.hashes)

    def tokens_of(self, ids: Integers) -> Ragged:
        """Return the tokens of the texts with the ids (M,), in this order."""
        spans = Spans(self.starts[ids], self.lengths[ids])
        return Ragged(spans.take(self.tokens), spans.lengths)


@dataclass(frozen=True)
class RowsByKey:
    """An index of R rows by a key, for example by query: all rows of a key are found by binary search."""

    keys: NDArray[Any]  # (R,) the key of every row, in ascending order
    rows: Integers  # (R,) the row of each key; rows with equal keys are in ascending order

    @classmethod
    def build(cls, key_R: NDArray[Any]) -> RowsByKey:
        """Return the index of R rows, given the key (R,) of each row."""
        order = np.argsort(key_R, kind="stable")
        return cls(key_R[order], order)

    def find(self, key_K: NDArray[Any]) -> tuple[Integers, Integers]:
        """Return all M rows that have one of the K keys.

        Returns:
            The index (M,) into `key_K` of each row's key, in ascending order, and the row (M,).
        """
        first, end = (np.searchsorted(self.keys, key_K, side=side) for side in ("left", "right"))
        found = Spans(first, end - first)
        return found.span_indices, found.take(self.rows)


def visits_with_explode(kind: NDArray[np.uint8], pos_count: Integers) -> Integers:
    """Return the number of visits (R,) of each row per epoch with `--positives explode`: one per positive.

    A graded row has a single visit, because its loss needs all its texts together.
    """
    return np.where(kind == GRADED, 1, pos_count)


@dataclass(frozen=True)
class RowStore:
    """R rows. The text ids of row r are `text_ids[bounds[r]:bounds[r+1]]`: query, positives, negatives."""

    kind: NDArray[np.uint8]  # (R,) index into `KINDS`
    source: NDArray[np.int32]  # (R,) index of the row's file, in ascending order
    bounds: Integers  # (R + 1,) index of each row's first text in `text_ids`; the last one is T
    pos_count: Integers  # (R,) number of positives
    text_ids: Integers  # (T,) text ids of all rows, one row after the other
    score: NDArray[np.float32]  # (T,) grade or teacher score of each text; NaN if it has none
    by_query: RowsByKey  # the rows by the text id of their query
    positive_ends: Integers  # (R,) cumulative sum of `visits_with_explode`

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def query_ids(self) -> Integers:
        """Return the text id (R,) of each row's query."""
        return self.query_ids_of(np.arange(len(self)))

    def query_ids_of(self, row: Integers) -> Integers:
        """Return the text id (N,) of the query of each of N rows."""
        return np.asarray(self.text_ids[self.bounds[row]])

    def positives(self, row: Integers) -> Spans:
        """Return the indices in `text_ids` of the positives of N rows (N,), as one span per row."""
        return Spans(self.bounds[row] + 1, self.pos_count[row])

    def negatives(self, row: Integers) -> Spans:
        """Return the indices in `text_ids` of the negatives of N rows (N,), as one span per row."""
        start = self.positives(row).ends
        return Spans(start, self.bounds[row + 1] - start)

    def with_negatives(self, mined_QN: Integers, query_index_R: Integers) -> RowStore:
        """Return the rows with mined negatives, which have no scores, in the place of their own negatives.

        Queries and positives do not change, so `by_query` and `positive_ends` remain valid.

        Args:
            mined_QN: (Q, N) text ids of the negatives of each mined query, -1 for none. The rows of a query without
                mined negatives keep their own.
            query_index_R: (R,) index into `mined_QN` of each row's query; -1 for a row that keeps its own negatives.
        """
        is_mined = mined_QN >= 0
        mined, count_Q = mined_QN[is_mined], is_mined.sum(axis=1)
        # The mined ids are appended to `text_ids` below.
        mined_span_R = Spans.from_lengths(count_Q, first=len(self.text_ids))[query_index_R]
        kept, own = Spans(self.bounds[:-1], 1 + self.pos_count), self.negatives(np.arange(len(self)))
        is_replaced_R = (query_index_R >= 0) & (mined_span_R.lengths > 0)
        negatives = Spans.where(is_replaced_R, mined_span_R, own)
        spans = Spans.interleave(kept, negatives)  # two per row: query with positives, negatives
        no_scores = np.full(len(mined), np.nan, dtype=np.float32)
        return replace(
            self,
            bounds=np.append(0, np.cumsum(kept.lengths + negatives.lengths)),
            text_ids=spans.take(np.concatenate([self.text_ids, mined])),
            score=spans.take(np.concatenate([self.score, no_scores])),
        )


@dataclass(frozen=True)
class TrainingData:
    """The content of a store."""

    texts: TextStore
    rows: RowStore
    # (R,) text hash that each row's query would have as a passage. The hash does not depend on the prompt of the row:
    # it is the same for equal queries with different prompts, and for a passage with the text of the query.
    query_as_passage: NDArray[np.uint64]
    facts: dict[str, Any]  # numbers of rows, distinct texts and tokens, and of rows per kind; the largest token

    def find_token(self, token: int) -> tuple[int, int]:
        """Return the first row found with a token of the store: the index of its file, and its number there from 0."""
        position = int(np.argmax(self.texts.tokens == token))
        starts = self.texts.starts
        text = int(np.argmax((starts <= position) & (position < starts + self.texts.lengths)))
        row = int(np.searchsorted(self.rows.bounds, np.argmax(self.rows.text_ids == text), side="right")) - 1
        source = int(self.rows.source[row])
        return source, row - int(np.searchsorted(self.rows.source, source))

    @classmethod
    def open(cls, folder: Path) -> TrainingData:
        """Open the store in `folder`."""
        array = partial(read_array, folder)
        facts = json.loads((folder / FACTS_FILE).read_text())
        texts = TextStore(array("hashes"), array("starts"), array("lengths"), array("tokens"))
        by_query = RowsByKey(array("sorted_query"), array("rows_by_query"))
        names = ("kind", "source", "bounds", "pos_count", "score", "positive_ends")
        rows = RowStore(**{name: array(name) for name in names}, text_ids=array("text"), by_query=by_query)
        return cls(texts, rows, array("query_as_passage"), facts)

"""Rows that need negatives, and the distinct texts of the corpus and of the rows.

In the names of arrays, Q stands for the rows and P for the distinct texts, of which the first D are the corpus.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedctl.data.passages import Passage
from embedctl.data.rows import Row
from embedctl.reading.hashes import normalize_text, text_hash
from embedctl.search.exact import Ids, Vectors

Hashes = NDArray[np.uint64]
# Arguments: indices of rows, and per row the indices of texts. Returns per row the scores of its query with them.
Scorer = Callable[[Sequence[int], Sequence[Ids]], list[Vectors]]


@dataclass
class DistinctTexts:
    """P distinct texts, each with an index."""

    texts: list[str] = field(default_factory=list)
    index_of: dict[int, int] = field(default_factory=dict)  # text hash to index

    def add(self, texts: Iterable[str]) -> list[int]:
        """Append the texts that are new, and return the index of each text."""
        indices = []
        for text in texts:
            indices.append(self.index_of.setdefault(text_hash(text), len(self.texts)))
            if indices[-1] == len(self.texts):
                self.texts.append(text)
        return indices

    def indices_of(self, texts: Iterable[str]) -> Ids:
        """Return the indices of texts that were added before."""
        return _ids(self.index_of[text_hash(text)] for text in texts)


@dataclass(frozen=True)
class MiningData:
    """The texts of Q rows that need negatives. Lists have one entry per row; ids are indices into `distinct.texts`."""

    distinct: DistinctTexts
    corpus_size: int  # D: only the first D texts are searched and can become negatives
    queries: list[str]
    prompts: list[str | None]  # the row's own prompt, or None
    # The positives of the row's query in all rows. Graded texts are included whatever their grade: a mined negative
    # must not contradict a known grade.
    known_positives: list[Ids]
    reference_positives: list[Ids]  # those that margins are measured from: only the highest grade of graded texts
    own_negatives: list[Ids]  # the row's own negatives, empty unless they are kept
    # (P, 2) hashes of each normalized text, and of the same text without its title: a row's positive may be either
    hash_P2: Hashes
    hash_Q: Hashes  # hash of each normalized query, see `normalize_text`
    # index of a titled passage to the index of the same text as a positive of the rows: see `text_to_write`
    form_in_rows: dict[int, int]

    def text_to_write(self, index: int) -> str:
        """Return the text of a mined negative in the form of the rows, if it has a title and is a positive of a row.

        Training recognises the positives of the other rows of a batch only if their texts are equal.
        """
        return self.distinct.texts[self.form_in_rows.get(index, index)]

    @property
    def max_excluded(self) -> int:
        """The largest number of corpus texts that a row excludes: its positives, its own negatives and its query."""
        return max(map(len, self.known_positives), default=0) + max(map(len, self.own_negatives), default=0) + 1


def collect_data(rows: Iterable[Row], corpus: Iterable[Passage] | None, *, keep_negatives: bool) -> MiningData:
    """Collect texts and positives in one pass over the rows. Without a corpus, the texts of the rows are searched."""
    distinct, untitled = DistinctTexts(), dict[int, int]()
    for passage in corpus or ():
        [index] = distinct.add([passage.text])
        if passage.untitled is not None:
            untitled[index] = _normalized_hash(passage.untitled)
    corpus_size = len(distinct.texts)
    # query to its positives; the value is whether margins are measured from the positive
    known: defaultdict[str, dict[int, bool]] = defaultdict(dict)
    queries: list[str] = []
    prompts: list[str | None] = []
    own_negatives: list[Ids] = []
    for row in rows:
        grades = row.scores or (1.0,) * len(row.pos)
        best, positives = max(grades), known[row.query]
        for index, grade in zip(distinct.add(row.pos), grades, strict=True):
            positives[index] = positives.get(index, False) or grade == best
        negatives = distinct.add(row.neg) if keep_negatives or corpus is None else []
        queries.append(row.query)
        prompts.append(row.prompt)
        own_negatives.append(_ids(negatives if keep_negatives else ()))
    hash_P2 = np.stack([normalized_hashes(distinct.texts)] * 2, axis=1)
    hash_P2[list(untitled), 1] = list(untitled.values())
    only_in_rows = {index for positives in known.values() for index in positives if index >= corpus_size}
    return MiningData(
        distinct,
        len(distinct.texts) if corpus is None else corpus_size,
        queries,
        prompts,
        [_ids(known[query]) for query in queries],
        [_ids(index for index, is_reference in known[query].items() if is_reference) for query in queries],
        own_negatives,
        hash_P2,
        normalized_hashes(queries),
        _forms_in_rows(untitled, only_in_rows, hash_P2),
    )


def _forms_in_rows(titled: Iterable[int], positives: Iterable[int], hash_P2: Hashes) -> dict[int, int]:
    """Return the titled passages that equal a positive with or without the title, and the index of that positive.

    Each positive is used once, so that a row never receives the same text twice.
    """
    positive_of_hash = {int(hash_P2[index, 0]): index for index in sorted(positives)}
    forms: dict[int, int] = {}
    for index in titled:
        matches = [text for text in hash_P2[index].tolist() if text in positive_of_hash]
        if matches:
            forms[index] = positive_of_hash.pop(matches[0])
    return forms


def _ids(indices: Iterable[int]) -> Ids:
    return np.fromiter(indices, dtype=np.int64)


def normalized_hashes(texts: Iterable[str]) -> Hashes:
    """Return the hash (N,) of each normalized text."""
    return np.fromiter(map(_normalized_hash, texts), dtype=np.uint64)


def _normalized_hash(text: str) -> int:
    return text_hash(normalize_text(text))

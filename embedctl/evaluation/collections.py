"""What is evaluated on: queries, a corpus and which documents answer which query. No vectors and no metrics here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from embedctl.data.passages import read_beir
from embedctl.data.rows import Row, read_rows
from embedctl.errors import DataError
from embedctl.reading.files import open_bytes
from embedctl.tokens.prompts import first_prompt

Qrels = dict[str, dict[str, int]]  # query id to document id to grade; above 0 answers the query


@dataclass(frozen=True)
class Collection:
    """Texts by id, and the grade of each judged document by query."""

    queries: dict[str, str]  # id to text; each has an answer
    corpus: dict[str, str]  # id to text
    qrels: Qrels  # of the queries
    prompts: dict[str, str] = field(default_factory=dict)  # of queries that bring their own, in place of any other
    notes: tuple[str, ...] = ()  # what was left out, for a human

    def prompted(self, prompt: str) -> list[str]:
        """The queries as a model sees them, `prompt` before those that have none of their own."""
        return [first_prompt(self.prompts.get(key), prompt) + text for key, text in self.queries.items()]

    @classmethod
    def from_rows(cls, files: Sequence[str]) -> Collection:
        """Rows' distinct positives and negatives are the corpus, a query's positives in all its rows its answers.

        A graded text has its score as grade, rounded to a whole number: from 0.5 on it answers.

        Raises:
            DataError: a row is wrong, or no query has an answer.
        """
        queries: dict[tuple[str, str | None], str] = {}
        corpus: dict[str, str] = {}
        qrels: Qrels = {}
        for name in files:
            for row in read_rows(name):
                judged = qrels.setdefault(queries.setdefault((row.query, row.prompt), f"q{len(queries)}"), {})
                for text in (*row.pos, *row.neg):
                    corpus.setdefault(text, f"d{len(corpus)}")
                for text, grade in zip(row.pos, _grades(row), strict=True):
                    judged[corpus[text]] = max(grade, judged.get(corpus[text], 0))
        texts = {key: text for (text, _), key in queries.items()}
        prompts = {key: prompt for (_, prompt), key in queries.items() if prompt is not None}
        return _answered(cls(texts, {key: text for text, key in corpus.items()}, qrels, prompts), files[0])

    @classmethod
    def from_beir(cls, corpus: str, queries: str, qrels: str) -> Collection:
        """BEIR's three files: corpus.jsonl and queries.jsonl (also .gz, .zst), qrels as .tsv or TREC's four columns.

        Queries without an answer and judgements of queries that are not there are left out and noted. An answer that
        is not in the corpus is an error: it could never be found, and the metrics would be too low.

        Raises:
            DataError: a line is wrong, the qrels name answers that the corpus lacks, or no query has an answer.
        """
        passages, asked = read_beir(corpus), read_beir(queries)
        judged: Qrels = {}
        unknown: set[str] = set()
        for line, query, document, grade in _read_qrels(qrels):
            if query not in asked:
                unknown.add(query)
            elif document in passages:
                judged.setdefault(query, {})[document] = grade
            elif grade > 0:
                hint = "are these the files of one collection?"
                raise DataError(f"{qrels}:{line}: corpus-id: {document!r} is not in {corpus}", hint)
        notes = (f"{qrels} judges {len(unknown):,} queries that are not in {queries}: left out",) if unknown else ()
        return _answered(cls(asked, passages, judged, notes=notes), qrels)


def _grades(row: Row) -> list[int]:
    if not row.scores:
        return [1] * len(row.pos)
    return [max(0, math.floor(score + 0.5)) for score in row.scores]


def _answered(whole: Collection, source: str) -> Collection:
    """The collection without the queries that nothing answers."""
    kept = {key for key, judged in whole.qrels.items() if any(grade > 0 for grade in judged.values())}
    if not kept:
        raise DataError(f"{source}: no query has an answer", "a positive, or a grade above 0, is an answer")
    dropped = len(whole.queries) - len(kept)
    note = (f"{dropped:,} of {len(whole.queries):,} queries have no answer: left out",) if dropped else ()
    return Collection(
        {key: text for key, text in whole.queries.items() if key in kept},
        whole.corpus,
        {key: whole.qrels[key] for key in whole.queries if key in kept},
        {key: prompt for key, prompt in whole.prompts.items() if key in kept},
        whole.notes + note,
    )


def _read_qrels(path: str) -> Iterator[tuple[int, str, str, int]]:
    """Line, query, document, grade. A first line whose last column is no number is a header."""
    with open_bytes(path) as stream:
        for number, raw in enumerate(stream, start=1):
            line = raw.decode("utf-8-sig", "replace").rstrip("\r\n")
            cells = line.split("\t") if "\t" in line else line.split()
            if not line.strip() or (number == 1 and not _is_whole(cells[-1])):
                continue
            if len(cells) not in (3, 4) or not _is_whole(cells[-1]):
                message = f"query, document and a whole number are expected, not {line[:80]!r}"
                raise DataError(f"{path}:{number}: line: {message}", "BEIR's columns are query-id, corpus-id, score")
            yield number, cells[0], cells[-2], int(cells[-1])


def _is_whole(cell: str) -> bool:
    return cell.strip().removeprefix("-").isdecimal()

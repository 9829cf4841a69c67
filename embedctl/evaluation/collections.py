"""Evaluation collections: queries, a corpus, and the grades of documents per query (qrels)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from embedctl.console import plural
from embedctl.data.passages import read_beir
from embedctl.data.rows import read_rows
from embedctl.errors import DataError, first_line
from embedctl.reading.files import READ_ERRORS, open_bytes

# An integer of at most 9 digits, which all libraries for metrics accept; some tools write it as 1.0.
GRADE = re.compile(r"\s*-?[0-9]{1,9}(\.0*)?\s*")
NUMBER = re.compile(r"\s*[-+]?[0-9].*")
Qrels = dict[str, dict[str, int]]  # query id to document id to grade; a document is relevant if its grade is above 0


@dataclass(frozen=True)
class Collection:
    """Queries and documents by id, and the grades of documents per query."""

    queries: dict[str, str]  # id to text; each query has a relevant document
    corpus: dict[str, str]  # id to text
    qrels: Qrels  # has an entry for each query
    prompts: dict[str, str] = field(default_factory=dict)  # id to prompt, for queries that replace the model's prompt
    notes: tuple[str, ...] = ()  # messages about data that is not used

    @classmethod
    def from_rows(cls, files: Sequence[str]) -> Collection:
        """Create a collection from files of rows.

        The corpus consists of the distinct positives and negatives of all rows. The positives of a query in any of its
        rows are relevant with grade 1. The grade of a graded text is its score, rounded to an integer: from 0.5 on, the
        text is relevant.

        Raises:
            DataError: a row is invalid, or no query has a relevant document.
        """
        queries: dict[tuple[str, str | None], str] = {}
        corpus: dict[str, str] = {}
        qrels: Qrels = {}
        for name in files:
            for row in read_rows(name):
                grades = qrels.setdefault(queries.setdefault((row.query, row.prompt), f"q{len(queries)}"), {})
                for text in (*row.pos, *row.neg):
                    corpus.setdefault(text, f"d{len(corpus)}")
                for text, score in zip(row.pos, row.scores or (1.0,) * len(row.pos), strict=True):
                    grades[corpus[text]] = max(math.floor(score + 0.5), grades.get(corpus[text], 0))
        texts = {key: text for (text, _), key in queries.items()}
        prompts = {key: prompt for (_, prompt), key in queries.items() if prompt is not None}
        documents = {key: text for text, key in corpus.items()}
        return _drop_queries_without_relevant_document(cls(texts, documents, qrels, prompts), files[0])

    @classmethod
    def from_beir(cls, corpus: str, queries: str, qrels: str, *, allow_missing: bool = False) -> Collection:
        """Create a collection from BEIR's files: corpus.jsonl, queries.jsonl (also compressed) and qrels.

        The qrels are a .tsv file, or have TREC's four columns. Queries without a relevant document, and grades of
        queries that are not in `queries`, are ignored with a note. Relevant documents that are not in the corpus are an
        error, or with `allow_missing` a note: no model finds them, which reduces the metrics, as in trec_eval.

        Raises:
            DataError: a line is invalid, a relevant document is not in the corpus, or no query has one.
        """
        passages, query_texts = read_beir(corpus), read_beir(queries)
        grades: Qrels = {}
        unknown: set[str] = set()
        missing: dict[str, int] = {}  # relevant document that is not in the corpus to the first line with it
        for line, query, document, grade in _read_qrels(qrels):
            if query not in query_texts:
                unknown.add(query)
            elif document in passages or grade > 0:
                grades.setdefault(query, {})[document] = grade
                if document not in passages:
                    missing.setdefault(document, line)
        notes = []
        if unknown:
            count = plural(len(unknown), "query that is", "queries that are")
            notes.append(f"{qrels}: ignored the grades of {count} not in {queries}")
        if missing:
            notes.append(_missing_documents(missing, qrels, corpus, allowed=allow_missing))
        if same := len(passages.keys() & grades.keys()):
            count = plural(same, "query has the _id of a document", "queries have the _id of a document")
            notes.append(f"{count}, which is left out of the results of that query, as in BEIR")
        return _drop_queries_without_relevant_document(cls(query_texts, passages, grades, notes=tuple(notes)), qrels)


def _missing_documents(missing: dict[str, int], qrels: str, corpus: str, *, allowed: bool) -> str:
    """Return a note about the relevant documents that are not in the corpus; raise it as DataError unless allowed."""
    document, line = next(iter(missing.items()))
    count = plural(len(missing), "relevant document is", "relevant documents are")
    first = f"{document!r}" if len(missing) == 1 else f"the first is {document!r}"
    message = f"{qrels}:{line}: corpus-id: {count} not in {corpus}: {first}"
    if not allowed:
        hint = (
            "give the whole corpus, or add `--allow-missing`, which counts these documents as not found, like trec_eval"
        )
        raise DataError(message, hint)
    return f"{message}; counted as not found"


def _drop_queries_without_relevant_document(collection: Collection, source: str) -> Collection:
    """Return the collection without the queries that have no relevant document, with a note about them.

    Raises:
        DataError: no query has a relevant document; the message starts with `source`.
    """
    kept = {key for key, grades in collection.qrels.items() if any(grade > 0 for grade in grades.values())}
    if not kept:
        hint = "add a positive, or a document with a grade above 0, to at least one query"
        raise DataError(f"{source}: no query has a relevant document", hint)
    queries = collection.queries
    dropped = len(queries) - len(kept)
    reason = "it has" if dropped == 1 else "they have"
    note = f"ignored {dropped:,} of {plural(len(queries), 'query', 'queries')}, because {reason} no relevant document"
    return replace(
        collection,
        queries={key: text for key, text in queries.items() if key in kept},
        qrels={key: collection.qrels[key] for key in queries if key in kept},
        notes=(*collection.notes, note) if dropped else collection.notes,
    )


def _read_qrels(path: str) -> Iterator[tuple[int, str, str, int]]:
    """Yield line number, query id, document id and grade. A first line is a header if its last column is no number."""
    with open_bytes(path) as stream:
        for number, raw in enumerate(_read_lines(path, stream), start=1):
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            cells = [_unquote(cell) for cell in (line.split("\t") if "\t" in line else line.split())]
            if not line.strip() or (number == 1 and not NUMBER.fullmatch(cells[-1])):
                continue
            if len(cells) not in (3, 4) or not GRADE.fullmatch(cells[-1]):
                message = f"expected a query id, a document id and an integer grade, not {line[:80]!r}"
                hint = "use BEIR's columns query-id, corpus-id, score, or TREC's four columns"
                raise DataError(f"{path}:{number}: line: {message}", hint)
            yield number, cells[0], cells[-2], int(float(cells[-1]))


def _unquote(cell: str) -> str:
    """Return a cell without the double quotes that spreadsheets write around it."""
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _read_lines(path: str, stream: BinaryIO) -> Iterator[bytes]:
    try:
        yield from stream
    except READ_ERRORS as cause:
        message = f"{path}: the file is damaged and cannot be read: {first_line(cause)}"
        raise DataError(message, "restore the file from its source") from cause

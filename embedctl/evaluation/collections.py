"""What is evaluated on: queries, a corpus and which documents answer which query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedctl.data.formats import documents, open_bytes, read_rows
from embedctl.errors import DataError


@dataclass(frozen=True)
class Collection:
    """Texts by id, and the grade of each judged document by query."""

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: dict[str, dict[str, int]]

    @classmethod
    def from_rows(cls, files: Sequence[str]) -> Collection:
        """The distinct texts of rows are the corpus, a query's positives its answers; a query of several rows has all of theirs.

        A graded text answers if its score is positive.

        Raises:
            DataError: a row is wrong.
        """
        queries: dict[str, str] = {}
        corpus: dict[str, str] = {}
        qrels: dict[str, dict[str, int]] = {}
        for name in files:
            for row in read_rows(name):
                query = (row.prompt or "") + row.query
                answers = qrels.setdefault(queries.setdefault(query, f"q{len(queries)}"), {})
                for text in (*row.pos, *row.neg):
                    corpus.setdefault(text, f"d{len(corpus)}")
                grades = row.scores or (1.0,) * len(row.pos)
                answers |= {corpus[text]: 1 for text, grade in zip(row.pos, grades, strict=True) if grade > 0}
        answered = {key: answers for key, answers in qrels.items() if answers}
        texts = {key: text for text, key in queries.items() if key in answered}
        return cls(texts, {key: text for text, key in corpus.items()}, answered)

    @classmethod
    def from_beir(cls, corpus: str, queries: str, qrels: str) -> Collection:
        """BEIR's three files; queries without an answer are left out.

        Raises:
            DataError: a line is wrong, or the qrels name what is not there.
        """
        passages = {key: f"{title} {text}".strip() for key, title, text in _texts(corpus)}
        asked = {key: text for key, _, text in _texts(queries)}
        judged = _read_qrels(qrels)
        for line, query, document, _ in judged:
            for key, texts, file in ((query, asked, queries), (document, passages, corpus)):
                if key not in texts:
                    raise DataError(f"{qrels}:{line}: id: {key!r} is not in {file}", "give the files of one collection")
        grades: dict[str, dict[str, int]] = {}
        for _, query, document, grade in judged:
            grades.setdefault(query, {})[document] = grade
        answered = {query: of for query, of in grades.items() if any(grade > 0 for grade in of.values())}
        return cls({key: text for key, text in asked.items() if key in answered}, passages, answered)


def _texts(path: str) -> list[tuple[str, str, str]]:
    return [(str(value["_id"]), str(value.get("title") or ""), str(value["text"])) for value in _objects(path)]


def _objects(path: str) -> list[dict[str, Any]]:
    found = []
    for document in documents(path):
        if document.fault is not None or not isinstance(document.value, dict):
            message = document.fault.message if document.fault else "an object is expected"
            raise DataError(f"{path}:{document.line}: line: {message}")
        for key in ("_id", "text"):
            if key not in document.value:
                raise DataError(f"{path}:{document.line}: {key}: the key is missing")
        found.append(document.value)
    return found


def _read_qrels(path: str) -> list[tuple[int, str, str, int]]:
    judged = []
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, start=1):
            cells = line.decode("utf-8").split()
            if not cells or (number == 1 and not cells[-1].lstrip("-").isdigit()):
                continue
            if len(cells) not in (3, 4) or not cells[-1].lstrip("-").isdigit():
                raise DataError(f"{path}:{number}: line: query, document and grade are expected, not {json.dumps(line.decode())}")
            judged.append((number, cells[0], cells[-2], int(cells[-1])))
    return judged

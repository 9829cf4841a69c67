"""A row of training data: its kinds, and the one place that says what is wrong with an object that should be one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from embedctl.errors import DataError
from embedctl.reading.documents import Problem, documents

TEXT_KEYS = ("query", "pos", "neg")
SCORE_KEYS = ("scores", "pos_scores", "neg_scores")
PROMPT_KEYS = ("prompt_for_query", "prompt")
SHOWN = 20  # faults that an error lists


class RowKind(Enum):
    """What a row trains.

    IN_BATCH: query, pos. HARD: query, pos, neg. GRADED: query, pos, scores (a grade of each pos).
    TEACHER: query, pos, neg, pos_scores, neg_scores (a teacher's score of each text).
    """

    IN_BATCH = "in-batch"
    HARD = "hard-negatives"
    GRADED = "graded"
    TEACHER = "teacher"


@dataclass(frozen=True, slots=True)
class Row:
    """A valid row. Score tuples are empty, or as long as the texts that they grade."""

    query: str
    pos: tuple[str, ...]
    neg: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    pos_scores: tuple[float, ...] = ()
    neg_scores: tuple[float, ...] = ()
    prompt: str | None = None

    @property
    def kind(self) -> RowKind:
        """The row's kind, from the keys that it has."""
        if self.pos_scores:
            return RowKind.TEACHER
        if self.scores:
            return RowKind.GRADED
        return RowKind.HARD if self.neg else RowKind.IN_BATCH


def read_rows(path: str) -> Iterator[Row]:
    """The rows of a file; blank lines are passed over.

    Raises:
        DataError: lists the first faults as `file:line: field: message`, or says that there are no rows.
    """
    faults: list[str] = []
    rows = 0
    for document in documents(path):
        if document.fault is not None and document.fault.code == "blank-line":
            continue
        found = [document.fault] if document.fault else check(document.value)
        faults += [f"{path}:{document.line}: {fault.field}: {fault.message}" for fault in found]
        if len(faults) >= SHOWN:
            break
        if not found and not faults:
            rows += 1
            yield to_row(document.value)
    if faults:
        raise DataError("\n  ".join(faults[:SHOWN]), f"`embedctl validate-data {path}` lists every fault")
    if not rows:
        raise DataError(f"{path}: has no rows", "see the README for the format of rows")


def check(document: Any) -> list[Problem]:
    """Every fault of a parsed JSON value that should be a row; none if it is one."""
    if not isinstance(document, dict):
        return [Problem("row", "not-an-object", f"an object is expected, not {_name(document)}")]
    faults = _check_query(document) + _check_texts(document, "pos", required=True) + _check_texts(document, "neg")
    for key in PROMPT_KEYS:
        if not isinstance(document.get(key, ""), str | None):
            faults.append(Problem(key, "not-a-string", f"a string is expected, not {_name(document[key])}"))
    faults += _check_scores(document, "scores", "pos") + _check_scores(document, "pos_scores", "pos")
    faults += _check_scores(document, "neg_scores", "neg")
    if bool(document.get("neg_scores")) and not document.get("pos_scores"):
        faults.append(Problem("pos_scores", "missing", "neg_scores without pos_scores"))
    if document.get("pos_scores") and document.get("neg") and not document.get("neg_scores"):
        faults.append(Problem("neg_scores", "missing", "pos_scores without neg_scores"))
    return faults


def to_row(document: dict[str, Any]) -> Row:
    """The row of an object in which `check` found no fault."""
    return Row(
        query=document["query"],
        pos=tuple(document["pos"]),
        neg=tuple(document.get("neg") or ()),
        scores=tuple(document.get("scores") or ()),
        pos_scores=tuple(document.get("pos_scores") or ()),
        neg_scores=tuple(document.get("neg_scores") or ()),
        prompt=document.get("prompt_for_query", document.get("prompt")),
    )


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _check_query(document: dict[str, Any]) -> list[Problem]:
    if "query" not in document:
        return [Problem("query", "missing", "the key is missing")]
    query = document["query"]
    if not isinstance(query, str):
        return [Problem("query", "not-a-string", f"a string is expected, not {_name(query)}")]
    return [] if query.strip() else [Problem("query", "empty", "the query is empty")]


def _check_texts(document: dict[str, Any], key: str, *, required: bool = False) -> list[Problem]:
    if document.get(key) is None and not required:
        return []
    if key not in document:
        return [Problem(key, "missing", "the key is missing")]
    texts = document[key]
    if not isinstance(texts, list):
        return [Problem(key, "not-a-list", f"a list of strings is expected, not {_name(texts)}")]
    if required and not texts:
        return [Problem(key, "empty", "the list is empty")]
    faults = []
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            faults.append(Problem(f"{key}[{place}]", "not-a-string", f"a string is expected, not {_name(text)}"))
        elif not text.strip():
            faults.append(Problem(f"{key}[{place}]", "empty", "the text is empty"))
    return faults


def _check_scores(document: dict[str, Any], key: str, texts: str) -> list[Problem]:
    scores = document.get(key)
    if scores is None:
        return []
    if not isinstance(scores, list):
        return [Problem(key, "not-a-list", f"a list of numbers is expected, not {_name(scores)}")]
    faults = []
    for place, score in enumerate(scores):
        if isinstance(score, bool) or not isinstance(score, int | float):
            faults.append(Problem(f"{key}[{place}]", "not-a-number", f"a number is expected, not {_name(score)}"))
        elif not math.isfinite(score):
            faults.append(Problem(f"{key}[{place}]", "not-finite", f"{score} is no score"))
    graded = document.get(texts)
    expected = len(graded) if isinstance(graded, list) else 0
    if len(scores) != expected:
        faults.append(Problem(key, "length", f"{len(scores)} scores for {expected} texts in {texts}"))
    return faults

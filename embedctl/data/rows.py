"""One row of training data, its kinds, the errors of an object that should be a row, and the reader of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any

from embedctl.console import plural
from embedctl.errors import DataError
from embedctl.reading.json_values import Problem, read_json_values
from embedctl.shell import embedctl_command

MAX_SCORE = 3.4e38  # nearly the largest float32
TEXT_KEYS = ("query", "pos", "neg")
SCORE_KEYS = ("scores", "pos_scores", "neg_scores")
PROMPT_KEYS = ("prompt_for_query", "prompt")
MAX_LISTED_ERRORS = 20  # in the message of a DataError
KNOWN_KEYS = frozenset((*TEXT_KEYS, *SCORE_KEYS, *PROMPT_KEYS))
# Other formats of training rows, and their keys; messages name the nearest.
LAYOUTS = {
    "sentence-transformers": {"anchor", "positive", "negative", "sentence1", "sentence2", "sentence", "label", "score"},
    "Tevatron": {"query_id", "query", "positive_passages", "negative_passages"},
    "DPR": {"question", "answers", "positive_ctxs", "negative_ctxs", "hard_negative_ctxs"},
    "NLI": {"premise", "hypothesis", "label"},
    "question answering": {"question", "answer", "context", "answers"},
    "instruction tuning": {"instruction", "input", "output"},
    "a BEIR corpus": {"_id", "title", "text"},
}
EXAMPLE_ROW = '{"query": "...", "pos": ["..."]}'


class RowKind(Enum):
    """The kind of a row, which determines the losses that can be used.

    IN_BATCH: query, pos. HARD: query, pos, neg. GRADED: query, pos, scores (one grade per positive).
    TEACHER: query, pos, neg, pos_scores, neg_scores (one teacher score per text).
    """

    IN_BATCH = "in-batch"
    HARD = "hard-negatives"
    GRADED = "graded"
    TEACHER = "teacher"


# What messages call a kind, if not by its value.
KIND_LABELS = {
    "in-batch": "in-batch negatives",
    "hard-negatives": "hard negatives",
    "graded": "graded pairs",
    "teacher": "teacher scores",
}


# A key of a row that training does not use, and why, for messages after "the row has".
NOT_USED = {
    "scores": "both scores and pos_scores; training uses pos_scores and neg_scores and ignores scores",
    "neg": "both scores and neg; training uses scores and ignores neg",
}


def format_kinds(counts: Mapping[str, int]) -> str:
    """Return the numbers of rows per kind for messages: "hard negatives: 400, graded pairs: 20"."""
    return ", ".join(f"{KIND_LABELS.get(kind, kind)}: {count:,}" for kind, count in counts.items())


@dataclass(frozen=True, slots=True)
class Row:
    """A valid row. Each tuple of scores is empty or has one score per text of its list."""

    query: str
    pos: tuple[str, ...]
    neg: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    pos_scores: tuple[float, ...] = ()
    neg_scores: tuple[float, ...] = ()
    prompt: str | None = None

    @property
    def kind(self) -> RowKind:
        """Return the kind of the row, which follows from its keys."""
        if self.pos_scores:
            return RowKind.TEACHER
        if self.scores:
            return RowKind.GRADED
        return RowKind.HARD if self.neg else RowKind.IN_BATCH

    @property
    def not_used(self) -> str | None:
        """The key that training does not use because of another key, see `NOT_USED`; None if it uses all."""
        if self.scores and (self.neg or self.pos_scores):
            return "scores" if self.pos_scores else "neg"
        return None


def read_rows(path: str) -> Iterator[Row]:
    """Yield the rows of a file and skip blank lines. After the first error, no more rows are yielded.

    Raises:
        DataError: rows have errors (the message lists the first ones as `file:line: field: message`), or the file
            contains no rows.
    """
    errors: list[str] = []
    rows = 0
    for value in read_json_values(path):
        if value.problem is not None and value.problem.code == "blank-line":
            continue
        found = [value.problem] if value.problem else find_errors(value.value)
        errors += [
            f"{path}:{value.line}: {problem.field}: {problem.message}"
            for problem in found
            if problem.code != "other-keys" or not errors  # the other rows of the file have the same keys
        ]
        if len(errors) >= MAX_LISTED_ERRORS:
            break
        if not found and not errors:
            rows += 1
            yield to_row(value.value)
    if errors:
        hint = f"run `{embedctl_command('validate-data', path)}` to list all errors, and fix the rows"
        raise DataError("\n  ".join(errors[:MAX_LISTED_ERRORS]), hint)
    if not rows:
        raise DataError(f"{path}: the file has no rows", f"write one JSON object per line, such as {EXAMPLE_ROW}")


def line_of_row(path: str, number: int) -> int:
    """Return the line of a row of a file without errors; `number` is its number from 0."""
    values = (value for value in read_json_values(path) if value.problem is None)
    return next(islice(values, number, None)).line


def find_errors(value: Any) -> list[Problem]:
    """Return every error of a parsed JSON value that should be a row; the list is empty for a valid row."""
    if not isinstance(value, dict):
        message = f"a row must be a JSON object such as {EXAMPLE_ROW}, not {_json_type(value)}"
        return [Problem("row", "not-an-object", message)]
    if other := _other_keys(value):
        return [other]
    errors = _check_query(value) + _check_texts(value, "pos", required=True) + _check_texts(value, "neg")
    for key in PROMPT_KEYS:
        if not isinstance(value.get(key, ""), str | None):
            errors.append(_not_a_string(key, value[key]))
    for key, texts_key in (("scores", "pos"), ("pos_scores", "pos"), ("neg_scores", "neg")):
        errors += _check_scores(value, key, texts_key)
    if value.get("neg_scores") and not value.get("pos_scores"):
        message = "the row has neg_scores but no pos_scores. Add one score per positive, or remove neg_scores"
        errors.append(Problem("pos_scores", "missing", message))
    if value.get("pos_scores") and value.get("neg") and not value.get("neg_scores"):
        message = "the row has pos_scores but no neg_scores. Add one score per negative, or remove pos_scores"
        errors.append(Problem("neg_scores", "missing", message))
    return errors


def to_row(fields: dict[str, Any]) -> Row:
    """Convert an object without errors (see `find_errors`) to a row."""
    lists = {key: tuple(fields.get(key) or ()) for key in ("pos", "neg", *SCORE_KEYS)}
    prompt = fields.get("prompt_for_query", fields.get("prompt"))
    return Row(fields["query"], **lists, prompt=prompt)


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _not_a_string(field: str, value: Any) -> Problem:
    return Problem(field, "not-a-string", f"the value must be a string, not {_json_type(value)}")


def _other_keys(fields: dict[str, Any]) -> Problem | None:
    """Return the problem of a row in another format: query or pos is missing, and there are unknown keys."""
    missing = [key for key in ("query", "pos") if key not in fields]
    if not missing or fields.keys() <= KNOWN_KEYS:
        return None
    shared, name = max((len(keys & fields.keys()), name) for name, keys in LAYOUTS.items())
    layout = f", like rows of {name}" if shared else ""
    names = " and ".join(missing)
    message = f"the row has the keys {', '.join(map(str, fields))}{layout}, but not {names}"
    return Problem("row", "other-keys", f"{message}. Rename the keys as in {EXAMPLE_ROW}")


def _missing(key: str) -> Problem:
    return Problem(key, "missing", f"the key is missing. A row must have query and pos, such as {EXAMPLE_ROW}")


def _check_query(fields: dict[str, Any]) -> list[Problem]:
    if "query" not in fields:
        return [_missing("query")]
    query = fields["query"]
    if not isinstance(query, str):
        return [_not_a_string("query", query)]
    return [] if query.strip() else [Problem("query", "empty", "the query is empty. Write a query or delete the row")]


def _check_texts(fields: dict[str, Any], key: str, *, required: bool = False) -> list[Problem]:
    if fields.get(key) is None and not required:
        return []
    if key not in fields:
        return [_missing(key)]
    texts = fields[key]
    if not isinstance(texts, list):
        return [Problem(key, "not-a-list", f"the value must be a list of strings, not {_json_type(texts)}")]
    if required and not texts:
        return [Problem(key, "empty", "the list is empty. Add a positive or delete the row")]
    errors = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            errors.append(_not_a_string(f"{key}[{index}]", text))
        elif not text.strip():
            message = "the text is empty. Write a text or remove it from the list"
            errors.append(Problem(f"{key}[{index}]", "empty", message))
    return errors


def _check_scores(fields: dict[str, Any], key: str, texts_key: str) -> list[Problem]:
    scores = fields.get(key)
    if scores is None or scores == []:  # some tools write an empty list where there are no scores
        return []
    if not isinstance(scores, list):
        return [Problem(key, "not-a-list", f"the value must be a list of numbers, not {_json_type(scores)}")]
    errors = []
    for index, score in enumerate(scores):
        field = f"{key}[{index}]"
        if isinstance(score, bool) or not isinstance(score, int | float):
            errors.append(Problem(field, "not-a-number", f"the value must be a number, not {_json_type(score)}"))
        elif isinstance(score, float) and not math.isfinite(score):
            errors.append(Problem(field, "not-finite", f"the score must be a finite number, not {score}"))
        elif abs(score) > MAX_SCORE:
            message = f"the score is too large. Scores are stored as float32 and must be at most {MAX_SCORE:.1e}"
            errors.append(Problem(field, "too-large", message))
    texts = fields.get(texts_key)
    expected = len(texts) if isinstance(texts, list) else 0
    if len(scores) != expected:
        counts = f"the list has {plural(len(scores), 'score')}, but {texts_key} has {plural(expected, 'text')}"
        errors.append(Problem(key, "length", f"{counts}. Write one score per text"))
    return errors

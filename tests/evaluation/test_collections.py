"""Collections from rows and from BEIR files: grades, prompts, ignored data and errors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from embedctl.errors import DataError
from embedctl.evaluation.collections import Collection
from embedctl.resources import example_data


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a JSON Lines file and returns its path."""

    def lines(name: str, *documents: object) -> str:
        path = tmp_path / name
        text = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return str(path)

    return lines


def grades_by_text(collection: Collection) -> dict[str, dict[str, int]]:
    """Return query text to document text to grade."""
    return {
        collection.queries[query]: {collection.corpus[document]: grade for document, grade in grades.items()}
        for query, grades in collection.qrels.items()
    }


def test_distinct_texts_are_the_corpus_and_rows_with_equal_queries_are_merged(write):
    first = write("a.jsonl", {"query": "q", "pos": ["x"], "neg": ["n", "y"]}, {"query": "r", "pos": ["n"]})
    second = write("b.jsonl", {"query": "q", "pos": ["y", "x"]})
    collection = Collection.from_rows([first, second])
    assert list(collection.corpus.values()) == ["x", "n", "y"]
    assert grades_by_text(collection) == {"q": {"x": 1, "y": 1}, "r": {"n": 1}}
    assert collection.notes == ()


@pytest.mark.parametrize(
    ("scores", "grades"),
    [
        ([3, 1, 0], [3, 1, 0]),
        ([0.5, 0.49, 0.0], [1, 0, 0]),
        ([4.6, 2.2, -3.0], [5, 2, 0]),
        ([1.0, 0.9, 0.1], [1, 1, 0]),
    ],
)
def test_scores_are_rounded_to_integer_grades(write, scores, grades):
    collection = Collection.from_rows([write("a.jsonl", {"query": "q", "pos": ["a", "b", "c"], "scores": scores})])
    assert grades_by_text(collection) == {"q": dict(zip("abc", grades, strict=True))}


def test_the_highest_grade_of_several_rows_counts(write):
    rows = [{"query": "q", "pos": ["a", "b"], "scores": scores} for scores in ([1, 2], [3, 0])]
    assert grades_by_text(Collection.from_rows([write("a.jsonl", *rows)])) == {"q": {"a": 3, "b": 2}}


def test_positives_with_teacher_scores_have_grade_1(write):
    row = {"query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [-4.0], "neg_scores": [-2.0]}
    assert grades_by_text(Collection.from_rows([write("a.jsonl", row)])) == {"q": {"a": 1}}


def test_the_prompt_of_a_row_replaces_the_models_prompt(write):
    rows = [
        {"query": "q", "pos": ["a"]},
        {"query": "q", "pos": ["b"], "prompt": "own: "},
        {"query": "r", "pos": ["a"], "prompt": ""},
    ]
    collection = Collection.from_rows([write("a.jsonl", *rows)])
    assert list(collection.queries.values()) == ["q", "q", "r"]
    assert [collection.prompts.get(key) for key in collection.queries] == [None, "own: ", ""]


def test_queries_without_a_relevant_document_are_ignored_with_a_note(write):
    rows = [{"query": "q", "pos": ["a"], "scores": [0.2]}, {"query": "r", "pos": ["b"]}]
    collection = Collection.from_rows([write("a.jsonl", *rows)])
    assert list(collection.queries.values()) == ["r"]
    assert list(collection.corpus.values()) == ["a", "b"]
    assert list(collection.qrels) == list(collection.queries)
    assert collection.notes == ("ignored 1 of 2 queries, because it has no relevant document",)


def test_a_collection_without_relevant_documents_is_an_error(write):
    with pytest.raises(DataError, match=r"a\.jsonl: no query has a relevant document"):
        Collection.from_rows([write("a.jsonl", {"query": "q", "pos": ["a"], "scores": [0]})])


CORPUS = [
    {"_id": "d1", "title": "Tea", "text": "is hot"},
    {"_id": "d2", "text": "rain"},
    {"_id": 3, "title": None, "text": "sun"},
]
QUERIES = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def beir(write, tmp_path: Path):
    """Return a function that writes a collection with the given qrels and reads it."""

    def read(
        qrels: str, corpus: list[dict[str, object]] = CORPUS, queries: list[dict[str, object]] = QUERIES
    ) -> Collection:
        (tmp_path / "qrels.tsv").write_text(qrels)
        return Collection.from_beir(
            write("corpus.jsonl.gz", *corpus), write("queries.jsonl", *queries), str(tmp_path / "qrels.tsv")
        )

    return read


def test_titles_are_prepended_to_texts_and_grades_are_kept(beir):
    collection = beir(HEADER + "q1\td1\t2\nq1\td2\t0\nq2\t3\t1\n")
    assert collection == Collection(
        {"q1": "one", "q2": "two"},
        {"d1": "Tea is hot", "d2": "rain", "3": "sun"},
        {"q1": {"d1": 2, "d2": 0}, "q2": {"3": 1}},
    )


@pytest.mark.parametrize(
    "qrels",
    [
        "q1\td1\t1\n",
        "\ufeff" + HEADER + "q1\td1\t1\n",
        HEADER.replace("\n", "\r\n") + "q1\td1\t1\r\n\r\n",
        "q1 0 d1 1\n",
        "q1\tQ0\td1\t1\n",
        "qid\titer\tdocno\trel\nq1\tQ0\td1\t1.0\n",
        '"query-id"\t"corpus-id"\t"score"\n"q1"\t"d1"\t"1"\n',
    ],
)
def test_formats_of_qrels(beir, qrels):
    assert beir(qrels).qrels == {"q1": {"d1": 1}}


def test_ids_in_tab_separated_qrels_may_contain_spaces(beir):
    corpus = [{"_id": "a document", "text": "x"}]
    assert beir(HEADER + "q1\ta document\t1\n", corpus).qrels == {"q1": {"a document": 1}}


def test_missing_documents_can_be_allowed_and_stay_relevant(write, tmp_path):
    (tmp_path / "qrels.tsv").write_text(HEADER + "q1\td1\t1\nq1\tgone\t1\nq2\tgone\t1\nq2\talso\t0\n")
    files = (write("corpus.jsonl", *CORPUS), write("queries.jsonl", *QUERIES), str(tmp_path / "qrels.tsv"))
    collection = Collection.from_beir(*files, allow_missing=True)
    assert collection.qrels == {"q1": {"d1": 1, "gone": 1}, "q2": {"gone": 1}}
    [note] = collection.notes
    assert note.endswith(
        "qrels.tsv:3: corpus-id: 1 relevant document is not in " + files[0] + ": 'gone'; counted as not found"
    )


def test_a_note_tells_of_queries_with_the_id_of_a_document(beir):
    collection = beir(HEADER + "d2\td1\t1\n", queries=[{"_id": "d2", "text": "one"}])
    assert collection.notes == (
        "1 query has the _id of a document, which is left out of the results of that query, as in BEIR",
    )


def test_queries_missing_from_either_file_are_ignored_with_a_note(beir):
    collection = beir(HEADER + "q1\td1\t1\nq9\td1\t1\nq8\tgone\t1\nq2\tgone\t0\n")
    assert list(collection.queries) == ["q1"]
    unknown, without_relevant = collection.notes
    assert "qrels.tsv: ignored the grades of 2 queries that are not in" in unknown
    assert without_relevant == "ignored 1 of 2 queries, because it has no relevant document"


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        (
            HEADER + "q1\td1\t1\nq1\tgone\t1\n",
            r"qrels\.tsv:3: corpus-id: 1 relevant document is not in .*corpus\.jsonl\.gz: 'gone'",
        ),
        (
            HEADER + "q1\ta\t1\nq1\tgone\t0\nq1\tb\t1\nq2\ta\t2\n",
            r"qrels\.tsv:2: corpus-id: 2 relevant documents are not in .*: the first is 'a'",
        ),
        ("q1\td1\t0.5\n", r"qrels\.tsv:1: line: expected a query id"),
        (
            HEADER + "q1\td1\n",
            r"qrels\.tsv:2: line: expected a query id, a document id and an integer grade, not 'q1\\td1'",
        ),
        (HEADER + "q1\td1\t0.5\n", r"qrels\.tsv:2: line: expected a query id"),
        (HEADER, r"qrels\.tsv: no query has a relevant document"),
    ],
)
def test_errors_in_qrels(beir, qrels, message):
    with pytest.raises(DataError, match=message):
        beir(qrels)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ([{"_id": "d1", "text": "x"}, {"_id": "d1", "text": "y"}], r"gz:2: _id: .* has the same _id, 'd1'"),
        ([{"text": "x"}], r"gz:1: _id: the key is missing"),
        ([{"_id": "d1"}], r"gz:1: text: the key is missing"),
        ([["d1", "x"]], r"gz:1: text: the key is missing"),
    ],
)
def test_errors_in_the_corpus(beir, corpus, message):
    with pytest.raises(DataError, match=message):
        beir(HEADER + "q1\td1\t1\n", corpus)


def test_the_error_for_a_missing_file_contains_its_name(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        Collection.from_beir(str(tmp_path / "none.jsonl"), "q", "r")


def test_the_example_collection_equals_the_example_rows():
    files = [str(example_data(name)) for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")]
    collection = Collection.from_beir(*files)
    rows = Collection.from_rows([str(example_data("eval.json"))])
    assert len(collection.corpus) >= 300
    assert len(collection.queries) >= 40
    assert grades_by_text(collection) == grades_by_text(rows)

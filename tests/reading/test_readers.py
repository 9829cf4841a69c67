"""The suffix chooses the reader; what a file without a known suffix is, each use says itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedctl.data.passages import read_passages
from embedctl.errors import DataError
from embedctl.evaluation.collections import Collection
from embedctl.reading.readers import READERS, read_csv, read_lines, read_objects, reader_of
from embedctl.reading.records import Record, Wanted
from embedctl.reading.tables import read_tables
from embedctl.reading.texts import count_texts, read_texts

WANTED = Wanted(("text", "title"), column_hint="name the column", line_hint="fix the line")
VALUES = [{"title": "Tea", "text": "is hot"}, {"title": "", "text": "rain"}]


def read_pairs(path: str, _wanted: Wanted) -> Iterator[Record]:
    """A format of lines such as `7=text`."""
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        key, _, text = line.partition("=")
        yield Record(path, number, {"_id": key, "text": text})


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("a.json", read_objects),
        ("a.JSONL.gz", read_objects),
        ("a.csv.zst", read_csv),
        ("a.parquet", read_tables),
        ("a.txt", read_lines),
        ("a.gz", read_lines),
        ("-", read_lines),
    ],
)
def test_the_suffix_tells_the_reader(name, reader):
    assert reader_of(name, otherwise=read_lines) is reader


def test_an_unknown_suffix_is_what_the_caller_says(tmp_path):
    assert reader_of("a.dat", otherwise=read_objects) is read_objects
    assert reader_of(str(tmp_path), otherwise=read_objects) is read_tables


def test_every_format_gives_the_same_records(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, VALUES)))
    (tmp_path / "a.json").write_text(json.dumps(VALUES))
    (tmp_path / "a.csv").write_text("title,text\nTea,is hot\n,rain\n")
    parquet.write_table(pa.Table.from_pylist(VALUES), tmp_path / "a.parquet")
    assert {path.suffix for path in tmp_path.iterdir()} == set(READERS)
    for path in tmp_path.iterdir():
        records = list(READERS[path.suffix](str(path), WANTED))
        assert [record.value for record in records] == VALUES
        assert {record.file for record in records} == {str(path)}


def test_only_the_wanted_columns_of_a_table_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"vector": [[0.5] * 8], "text": ["one"]}), path)
    assert [record.value for record in read_tables(str(path), WANTED)] == [{"text": "one"}]


def test_what_can_not_be_read_comes_with_the_hint_of_the_caller(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\nnope\n')
    with pytest.raises(DataError, match=r"a\.jsonl:3: line: not JSON") as wrong:
        list(read_objects(str(path), WANTED))
    assert wrong.value.hint == "fix the line"


def test_a_format_is_one_function_and_one_line_for_all_commands(tmp_path, monkeypatch):
    path = tmp_path / "a.pairs"
    path.write_text("7=one\n8=two\n")
    (tmp_path / "qrels.tsv").write_text("7\t8\t1\n")
    assert list(read_texts(str(path), "text")) == ["7=one", "8=two"]
    monkeypatch.setitem(READERS, ".pairs", read_pairs)
    assert list(read_texts(str(path), "text")) == ["one", "two"]
    assert count_texts(str(path), "text") is None
    assert list(read_passages(str(path))) == ["one", "two"]
    collection = Collection.from_beir(str(path), str(path), str(tmp_path / "qrels.tsv"))
    assert (collection.queries, collection.corpus) == ({"7": "one"}, {"7": "one", "8": "two"})

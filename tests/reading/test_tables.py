"""Columns of Parquet files and dataset folders, as `datasets` lays them out."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedctl.errors import DataError
from embedctl.reading import tables
from embedctl.reading.readers import count_texts, read_texts
from embedctl.reading.records import Wanted
from embedctl.reading.tables import read_tables


def write_arrow(path: Path, texts: list[str], batch: int = 2) -> None:
    table = pa.table({"text": texts})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=batch)


def save_dataset(folder: Path, *parts: list[str]) -> Path:
    """What Dataset.save_to_disk leaves, its files named so that sorting them would be wrong."""
    folder.mkdir(parents=True)
    names = [f"data-{9 - number}.arrow" for number in range(len(parts))]
    for name, texts in zip(names, parts, strict=True):
        write_arrow(folder / name, texts)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    write_arrow(folder / "cache-1.arrow", ["left over"])
    return folder


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"id": [1, 2, 3], "text": ["one", "", "学习"], "pos": [["a", "b"], [], ["c"]]})
    parquet.write_table(table, path, row_group_size=2)
    assert list(read_texts(str(path), "text")) == ["one", "", "学习"]
    assert list(read_texts(str(path), "pos")) == ["a", "b", "c"]
    assert (count_texts(str(path), "text"), count_texts(str(path), "pos")) == (3, None)
    with pytest.raises(DataError, match=r"a\.parquet: body: no such column; it has id, text, pos"):
        list(read_texts(str(path), "body"))
    with pytest.raises(DataError, match=r"a\.parquet:1: id: .* not 1$"):
        list(read_texts(str(path), "id"))


def test_a_text_that_is_null_is_named_by_its_row(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["one", None]}), path)
    with pytest.raises(DataError, match=r"a\.parquet:2: text: .* not null"):
        list(read_texts(str(path), "text"))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_what_is_no_table_is_said(tmp_path, name):
    (tmp_path / name).write_text("no table at all, just words")
    path = str(tmp_path / name) if name.endswith("parquet") else str(tmp_path)
    for read in (lambda: list(read_texts(path, "text")), lambda: count_texts(path, "text")):
        with pytest.raises(DataError, match="can't be read as a table"):
            read()


def test_a_saved_dataset_in_the_order_of_its_state(tmp_path):
    folder = save_dataset(tmp_path / "saved", ["one", "two", "three"], ["four"])
    assert list(read_texts(str(folder), "text")) == ["one", "two", "three", "four"]
    assert count_texts(str(folder), "text") == 4


def test_splits_must_be_named(tmp_path):
    folder = tmp_path / "splits"
    save_dataset(folder / "train", ["one"])
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert list(read_texts(str(folder), "text")) == ["one"]
    save_dataset(folder / "test", ["two"])
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match="holds the splits train, test"):
        list(read_texts(str(folder), "text"))


def test_a_folder_of_tables_in_the_order_of_their_names(tmp_path):
    for name, text in (("b", "two"), ("a", "one")):
        parquet.write_table(pa.table({"text": [text]}), tmp_path / f"{name}.parquet")
    assert list(read_texts(str(tmp_path), "text")) == ["one", "two"]


def test_a_folder_without_tables(tmp_path):
    with pytest.raises(DataError, match=r"without \.arrow or \.parquet files"):
        list(read_texts(str(tmp_path), "text"))


def test_a_missing_table_is_named(tmp_path):
    wanted = Wanted(("text",), column_hint="", line_hint="")
    with pytest.raises(DataError, match=r"none\.parquet: No such file"):
        list(read_tables(str(tmp_path / "none.parquet"), wanted))


def test_rows_are_numbered_over_the_batches_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH_ROWS", 2)
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": list("abcde")}), path)
    wanted = Wanted(("text",), column_hint="", line_hint="")
    assert [record.line for record in read_tables(str(path), wanted)] == [1, 2, 3, 4, 5]

"""Rows of Parquet files and of dataset folders in the layout of Hugging Face `datasets`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedctl.errors import DataError
from embedctl.reading import tables
from embedctl.reading.readers import count_texts, read_texts
from embedctl.reading.records import ReadOptions
from embedctl.reading.tables import read_tables


def write_arrow(path: Path, texts: list[str], batch: int = 2) -> None:
    table = pa.table({"text": texts})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=batch)


def save_dataset(folder: Path, *parts: list[str]) -> Path:
    """Write what Dataset.save_to_disk writes, with file names whose alphabetical order is wrong."""
    folder.mkdir(parents=True)
    names = [f"data-{9 - number}.arrow" for number in range(len(parts))]
    for name, texts in zip(names, parts, strict=True):
        write_arrow(folder / name, texts)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    write_arrow(folder / "cache-1.arrow", ["unrelated"])
    return folder


def test_parquet_columns_are_read_and_a_missing_column_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"id": [1, 2, 3], "text": ["one", "", "学习"], "pos": [["a", "b"], [], ["c"]]})
    parquet.write_table(table, path, row_group_size=2)
    assert list(read_texts(str(path), "text")) == ["one", "", "学习"]
    assert list(read_texts(str(path), "pos")) == ["a", "b", "c"]
    assert (count_texts(str(path), "text"), count_texts(str(path), "pos")) == (3, None)
    with pytest.raises(DataError, match=r"a\.parquet: body: no such column; existing columns: id, text, pos"):
        list(read_texts(str(path), "body"))
    with pytest.raises(DataError, match=r"a\.parquet:1: id: .* not 1$"):
        list(read_texts(str(path), "id"))


def test_the_error_for_a_null_text_contains_the_row_number(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["one", None]}), path)
    with pytest.raises(DataError, match=r"a\.parquet:2: text: .* not null"):
        list(read_texts(str(path), "text"))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_file_that_is_not_a_table_is_an_error(tmp_path, name):
    (tmp_path / name).write_text("plain text")
    path = str(tmp_path / name) if name.endswith("parquet") else str(tmp_path)
    for read in (lambda: list(read_texts(path, "text")), lambda: count_texts(path, "text")):
        with pytest.raises(DataError, match="cannot be read as a Parquet or Arrow table"):
            read()


def test_a_saved_dataset_is_read_in_the_order_of_state_json(tmp_path):
    folder = save_dataset(tmp_path / "saved", ["one", "two", "three"], ["four"])
    assert list(read_texts(str(folder), "text")) == ["one", "two", "three", "four"]
    assert count_texts(str(folder), "text") == 4


def test_a_dataset_of_several_splits_is_an_error(tmp_path):
    folder = tmp_path / "splits"
    save_dataset(folder / "train", ["one"])
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert list(read_texts(str(folder), "text")) == ["one"]
    save_dataset(folder / "test", ["two"])
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match="contains several splits: train, test"):
        list(read_texts(str(folder), "text"))


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path):
    for name, text in (("b", "two"), ("a", "one")):
        parquet.write_table(pa.table({"text": [text]}), tmp_path / f"{name}.parquet")
    assert list(read_texts(str(tmp_path), "text")) == ["one", "two"]


def test_a_folder_without_table_files_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no \.arrow or \.parquet files"):
        list(read_texts(str(tmp_path), "text"))


def test_a_missing_file_is_an_error(tmp_path):
    options = ReadOptions(("text",), column_hint="", line_hint="")
    with pytest.raises(DataError, match=r"none\.parquet: no such file"):
        list(read_tables(str(tmp_path / "none.parquet"), options))


def test_row_numbers_continue_across_the_batches_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH_ROWS", 2)
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": list("abcde")}), path)
    options = ReadOptions(("text",), column_hint="", line_hint="")
    assert [record.line for record in read_tables(str(path), options)] == [1, 2, 3, 4, 5]

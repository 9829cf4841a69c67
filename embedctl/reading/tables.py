"""Read rows of Parquet files and of the folders that Hugging Face `datasets` writes, without the `datasets` package."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedctl.errors import DataError
from embedctl.reading.records import ReadOptions, Record

BATCH_ROWS = 8192
# Schema of an open file, a function that counts its rows, and a function that reads batches of the given columns.
Table = tuple[Any, Callable[[], int], Callable[[list[str]], Iterator[Any]]]


def read_tables(path: str, options: ReadOptions) -> Iterator[Record]:
    """Yield the rows of a Parquet file or a dataset folder, with the columns of `options`.

    Raises:
        DataError: the input does not exist or cannot be read, or it has none of the columns.
    """
    for file in _table_files(path):
        with _open_table(file) as (schema, _, batches):
            columns = options.select_columns(str(file), schema.names)
            rows = (row for batch in batches(columns) for row in batch.to_pylist())
            yield from (Record(str(file), number, row) for number, row in enumerate(rows, start=1))


def count_rows(path: str, field: str) -> int | None:
    """Return the number of rows of a Parquet file or dataset folder; None if a row may hold several texts.

    Raises:
        DataError: the input does not exist or cannot be read.
    """
    from pyarrow import types

    total = 0
    for file in _table_files(path):
        with _open_table(file) as (schema, count, _):
            if field not in schema.names or types.is_nested(schema.field(field).type):
                return None
            total += count()
    return total


def _table_files(path: str) -> list[Path]:
    """Return the table files of an input, in the order of state.json of a saved dataset or else sorted by name.

    Raises:
        DataError: the path does not exist, or the folder contains no table files or several splits.
    """
    folder = Path(path)
    if not folder.exists():
        raise DataError(f"{path}: no such file", "give the path of an existing file")
    if not folder.is_dir():
        return [folder]
    splits, state = folder / "dataset_dict.json", folder / "state.json"
    if splits.is_file():
        names = json.loads(splits.read_text(encoding="utf-8"))["splits"]
        if len(names) != 1:
            hint = f"give the folder of one split, for example {folder / names[0]}"
            raise DataError(f"{path}: the folder contains several splits: {', '.join(names)}", hint)
        return _table_files(str(folder / names[0]))
    if state.is_file():
        return [folder / entry["filename"] for entry in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
    files = sorted(folder.glob("*.arrow")) or sorted(folder.glob("*.parquet"))
    if not files:
        hint = "give a file, or a folder written by `Dataset.save_to_disk` of Hugging Face datasets"
        raise DataError(f"{path}: the folder contains no .arrow or .parquet files", hint)
    return files


@contextmanager
def _open_table(file: Path) -> Iterator[Table]:
    """Open a file for a with-block.

    Raises:
        DataError: the file cannot be read, also if this happens in the with-block.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if file.suffix == ".parquet":
            table = parquet.ParquetFile(file)
            yield (
                table.schema_arrow,
                lambda: table.metadata.num_rows,
                lambda columns: table.iter_batches(BATCH_ROWS, columns=columns),
            )
            return
        with pa.memory_map(str(file)) as memory, pa.ipc.open_stream(memory) as reader:
            yield (
                reader.schema,
                lambda: sum(batch.num_rows for batch in reader),
                lambda columns: (batch.select(columns) for batch in reader),
            )
    except (pa.ArrowException, OSError) as cause:
        reason = str(cause).splitlines()[0][:200]
        hint = "download or create the file again, or convert it to Parquet"
        raise DataError(f"{file}: cannot be read as a Parquet or Arrow table: {reason}", hint) from cause

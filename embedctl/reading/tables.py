"""The rows of Parquet files and of the folders that Hugging Face `datasets` writes, without `datasets`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedctl.errors import DataError
from embedctl.reading.records import Record, Wanted

BATCH_ROWS = 8192
# Schema of an open file, what counts its rows, and what reads batches of some columns.
Table = tuple[Any, Callable[[], int], Callable[[list[str]], Iterator[Any]]]


def read_tables(path: str, wanted: Wanted) -> Iterator[Record]:
    """The rows of a Parquet file or a dataset folder, the wanted columns of each."""
    for file in _files(path):
        with _table(file) as (schema, _, batches):
            columns = wanted.among(str(file), schema.names)
            rows = (row for batch in batches(columns) for row in batch.to_pylist())
            yield from (Record(str(file), number, row) for number, row in enumerate(rows, start=1))


def count_rows(path: str, field: str) -> int | None:
    """The rows of all files, from their metadata; None where a row may hold several texts."""
    from pyarrow import types

    total = 0
    for file in _files(path):
        with _table(file) as (schema, count, _):
            if field not in schema.names or types.is_nested(schema.field(field).type):
                return None
            total += count()
    return total


def _files(path: str) -> list[Path]:
    """The files of an input in their order: state.json of a saved dataset names them, else their names tell.

    Raises:
        DataError: there is no such file, or the folder holds none or several splits.
    """
    folder = Path(path)
    if not folder.exists():
        raise DataError(f"{path}: No such file or directory", "check the name of the file")
    if not folder.is_dir():
        return [folder]
    splits, state = folder / "dataset_dict.json", folder / "state.json"
    if splits.is_file():
        names = json.loads(splits.read_text(encoding="utf-8"))["splits"]
        if len(names) != 1:
            raise DataError(f"{path}: holds the splits {', '.join(names)}", f"name one: {folder / names[0]}")
        return _files(str(folder / names[0]))
    if state.is_file():
        data = json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        return [folder / entry["filename"] for entry in data]
    files = sorted(folder.glob("*.arrow")) or sorted(folder.glob("*.parquet"))
    if not files:
        hint = "name a file, or a folder written by datasets' save_to_disk"
        raise DataError(f"{path}: a folder without .arrow or .parquet files", hint)
    return files


@contextmanager
def _table(file: Path) -> Iterator[Table]:
    """An open file; what pyarrow finds wrong with it is a user's error."""
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
        raise DataError(f"{file}: can't be read as a table: {reason}", "get the file anew, or convert it") from cause

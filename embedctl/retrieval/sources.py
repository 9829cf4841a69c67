"""The texts of an input, whatever its format. To add a format: one function and one line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedctl.data.formats import documents, open_bytes
from embedctl.errors import DataError

COMPRESSED = (".gz", ".zst")


def read_lines(path: str, _field: str) -> Iterator[str]:
    """A text a line; an empty line is an empty text, so that line n is row n."""
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as cause:
                raise DataError(
                    f"{path}:{number}: line: byte {cause.start} is not UTF-8", "convert the file to UTF-8"
                ) from None


def read_objects(path: str, field: str) -> Iterator[str]:
    """`field` of each JSON object; the texts of a list follow one another; a JSON string is a text by itself."""
    for document in documents(path):
        if document.fault is not None and document.fault.code == "blank-line":
            continue
        if document.fault is not None:
            raise DataError(f"{path}:{document.line}: {document.fault.field}: {document.fault.message}")
        yield from _texts(path, document.line, document.value, field)


def _texts(path: str, line: int, value: Any, field: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, dict) or field not in value:
        has = f"; it has {', '.join(value)}" if isinstance(value, dict) else ""
        raise DataError(
            f"{path}:{line}: {field}: the key is missing{has}", "name the key that holds the text with --field"
        )
    texts = value[field] if isinstance(value[field], list) else [value[field]]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(
            f"{path}:{line}: {field}: a string or a list of strings is expected", "name another key with --field"
        )
    return texts


def read_csv(path: str, field: str) -> Iterator[str]:
    """A column of a CSV file with a header."""
    import csv
    import io

    with open_bytes(path) as stream:
        rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        _expect_column(path, field, list(rows.fieldnames or ()))
        for row in rows:
            yield row[field] or ""


def read_parquet(path: str, field: str) -> Iterator[str]:
    """A column of a Parquet file."""
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    _expect_column(path, field, file.schema_arrow.names)
    for batch in file.iter_batches(columns=[field]):
        yield from (text or "" for text in batch.column(0).to_pylist())


def read_folder(path: str, field: str) -> Iterator[str]:
    """A column of a Hugging Face dataset folder (`save_to_disk`): its Arrow files in the order of their names."""
    import pyarrow as pa

    files = sorted(Path(path).rglob("*.arrow"))
    if not files:
        raise DataError(
            f"{path}: a folder without .arrow files", "name a file, or a folder written by datasets' save_to_disk"
        )
    for file in files:
        with pa.memory_map(str(file)) as memory:
            reader = pa.ipc.open_stream(memory)
            _expect_column(str(file), field, reader.schema.names)
            for batch in reader:
                yield from (text or "" for text in batch.column(field).to_pylist())


def _expect_column(path: str, field: str, columns: list[str]) -> None:
    if field not in columns:
        raise DataError(
            f"{path}:1: {field}: no such column; it has {', '.join(columns)}", "name the column with --field"
        )


READERS: dict[str, Callable[[str, str], Iterator[str]]] = {
    ".json": read_objects,
    ".jsonl": read_objects,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def read_texts(path: str, field: str) -> Iterator[str]:
    """The texts of an input.

    Args:
        path: .txt, .json, .jsonl, .csv (each also .gz or .zst), .parquet, a dataset folder, or - for lines of stdin.
        field: the key or column that holds the text.

    Raises:
        DataError: the input is missing, or something in it is no text.
    """
    if path != "-" and not Path(path).exists():
        raise DataError(f"{path}: no such file", "check --input")
    if path != "-" and Path(path).is_dir():
        return read_folder(path, field)
    name = Path(path)
    suffix = name.with_suffix("").suffix if name.suffix in COMPRESSED else name.suffix
    return READERS.get(suffix, read_lines)(path, field)

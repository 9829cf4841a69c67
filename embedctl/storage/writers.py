"""Where vectors go: one file. To add a format: one class and one line in `SINKS`. Folders are in shards.py.

Every file is written under a temporary name and renamed when it is whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from embedctl.errors import ConfigError

HEADER_BYTES = 128


class Sink(ABC):
    """Takes blocks of texts and vectors in order; `with` renames the file at the end, or removes it after a failure."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """Append N texts and their vectors (N, H)."""

    @abstractmethod
    def finish(self) -> None:
        """Close the temporary file."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
        if kind is None:
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


class NpySink(Sink):
    """One .npy array; the header, which says how many rows there are, is written last."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.stream: BinaryIO = self.temporary.open("wb")
        self.stream.write(b"\0" * HEADER_BYTES)
        self.rows, self.dim, self.dtype = 0, 0, np.dtype(np.float32)

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """See `Sink`."""
        self.rows, self.dim, self.dtype = self.rows + len(texts), vectors.shape[1], vectors.dtype
        np.ascontiguousarray(vectors).tofile(self.stream)

    def finish(self) -> None:
        """See `Sink`. The header is padded to a fixed length, as the format allows."""
        facts = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.rows, self.dim)}
        text = str(facts).encode("latin1")
        size = HEADER_BYTES - len(npy.magic(1, 0)) - 2
        header = npy.magic(1, 0) + size.to_bytes(2, "little") + text + b" " * (size - len(text) - 1) + b"\n"
        self.stream.seek(0)
        self.stream.write(header)
        self.stream.close()


class JsonlSink(Sink):
    """{"text": ..., "embedding": [...]} a line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.stream: BinaryIO = self.temporary.open("wb")

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """See `Sink`."""
        import orjson

        for text, vector in zip(texts, vectors, strict=True):
            numbers = vector.tolist() if vector.dtype == np.float16 else np.ascontiguousarray(vector)
            document = {"text": text, "embedding": numbers}
            self.stream.write(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))

    def finish(self) -> None:
        """See `Sink`."""
        self.stream.close()


class ParquetSink(Sink):
    """Columns `text` and `embedding`, a list of fixed size."""

    writer: Any = None

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """See `Sink`."""
        import pyarrow as pa
        from pyarrow import parquet

        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        table = pa.table({"text": pa.array(texts, pa.string()), "embedding": lists})
        self.writer = self.writer or parquet.ParquetWriter(self.temporary, table.schema)
        self.writer.write_table(table)

    def finish(self) -> None:
        """See `Sink`."""
        if self.writer is not None:
            self.writer.close()


SINKS: dict[str, type[Sink]] = {".npy": NpySink, ".jsonl": JsonlSink, ".parquet": ParquetSink}


def expect_format(path: Path) -> None:
    """Check that a file name has a format.

    Raises:
        ConfigError: no format has its suffix.
    """
    if path.suffix not in SINKS:
        raise ConfigError(f"--output {path}: the suffix is none of {', '.join(SINKS)}", "a folder for shards ends in /")


def sink_for(path: Path) -> Sink:
    """The sink of a file name.

    Raises:
        ConfigError: no format has its suffix.
    """
    expect_format(path)
    return SINKS[path.suffix](path)

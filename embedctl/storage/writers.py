"""Write files of embeddings in several formats. Output folders are in shards.py.

To add a format, add one class and one line in `WRITERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from embedctl.errors import ConfigError
from embedctl.files import atomic_file

HEADER_BYTES = 128  # numpy pads the header of each matrix to this size


@dataclass
class Writer(ABC):
    """Base class for the writers of one format, which write texts and their vectors to a stream."""

    stream: IO[bytes]

    @abstractmethod
    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """Append a block of N texts and their vectors (N, H)."""

    def close(self) -> None:
        """Write buffered data and the end of the file."""
        self.stream.flush()


class NpyWriter(Writer):
    """Writes one .npy array without the texts. The header contains the number of rows, so it is written last."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.stream.write(b"\0" * HEADER_BYTES)
        self.rows, self.dim, self.dtype = 0, 0, np.dtype(np.float32)

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """Append the vectors (N, H). The texts are ignored and may be empty."""
        self.rows, self.dim, self.dtype = self.rows + len(vectors), vectors.shape[1], vectors.dtype
        np.ascontiguousarray(vectors).tofile(self.stream)

    def close(self) -> None:
        """Write the header at the start of the file."""
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.rows, self.dim)}
        self.stream.seek(0)
        npy.write_array_header_1_0(self.stream, header)


class JsonlWriter(Writer):
    """Writes one line {"text": ..., "embedding": [...]} per text."""

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """See `Writer`."""
        import orjson

        for text, vector in zip(texts, vectors, strict=True):
            numbers = vector.tolist() if vector.dtype == np.float16 else np.ascontiguousarray(vector)
            row = {"text": text, "embedding": numbers}
            self.stream.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))


class ParquetWriter(Writer):
    """Writes the columns `text` and `embedding` (a list of fixed size)."""

    table: Any = None

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """See `Writer`."""
        import pyarrow as pa
        from pyarrow import parquet

        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        block = pa.table({"text": pa.array(texts, pa.string()), "embedding": lists})
        self.table = self.table or parquet.ParquetWriter(self.stream, block.schema)
        self.table.write_table(block)

    def close(self) -> None:
        """See `Writer`."""
        if self.table is not None:
            self.table.close()


WRITERS: dict[str, type[Writer]] = {".npy": NpyWriter, ".jsonl": JsonlWriter, ".parquet": ParquetWriter}


def check_output_format(path: Path) -> None:
    """Raise a ConfigError if no format has the suffix of an output file."""
    if path.suffix not in WRITERS:
        message = f"--output {path}: the suffix is not one of {', '.join(WRITERS)}"
        raise ConfigError(message, "change the suffix, or end the path with `/` to write a folder of shards")


@contextmanager
def open_writer(path: Path, *, complete: Callable[[Path], None] | None = None) -> Iterator[Writer]:
    """Open the writer of a file for a with-block. The suffix determines the format. The file is written atomically.

    `complete` is called as by `atomic_path`.
    """
    check_output_format(path)
    with atomic_file(path, "wb", complete=complete) as stream, closing(WRITERS[path.suffix](stream)) as writer:
        yield writer


def write_array(path: Path, array: NDArray[Any], *, complete: Callable[[Path], None] | None = None) -> None:
    """Write an array (N, H) atomically to a .npy file; `complete` is called as by `atomic_path`."""
    with open_writer(path, complete=complete) as writer:
        writer.write((), array)

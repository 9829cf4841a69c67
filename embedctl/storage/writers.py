"""Output files of vectors. To add a format: one class and one line in `WRITERS`. Folders are in shards.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from embedctl.errors import ConfigError
from embedctl.files import atomic_file

HEADER_BYTES = 128


class Writer(ABC):
    """Writes blocks of texts and vectors to a stream, in order."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream

    @abstractmethod
    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """Append N texts and their vectors (N, H)."""

    def close(self) -> None:
        """Write what is left, and what the format has at its end."""
        self.stream.flush()


class NpyWriter(Writer):
    """One .npy array without the texts; the header, which holds the number of rows, is written last."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.stream.write(b"\0" * HEADER_BYTES)
        self.rows, self.dim, self.dtype = 0, 0, np.dtype(np.float32)

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """See `Writer`; the texts may be left out."""
        self.rows, self.dim, self.dtype = self.rows + len(vectors), vectors.shape[1], vectors.dtype
        np.ascontiguousarray(vectors).tofile(self.stream)

    def close(self) -> None:
        """See `Writer`. The header is padded to a fixed length, as the format allows."""
        facts = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.rows, self.dim)}
        text = str(facts).encode("latin1")
        size = HEADER_BYTES - len(npy.magic(1, 0)) - 2
        header = npy.magic(1, 0) + size.to_bytes(2, "little") + text + b" " * (size - len(text) - 1) + b"\n"
        self.stream.seek(0)
        self.stream.write(header)


class JsonlWriter(Writer):
    """{"text": ..., "embedding": [...]} a line."""

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        """See `Writer`."""
        import orjson

        for text, vector in zip(texts, vectors, strict=True):
            numbers = vector.tolist() if vector.dtype == np.float16 else np.ascontiguousarray(vector)
            document = {"text": text, "embedding": numbers}
            self.stream.write(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))


class ParquetWriter(Writer):
    """Columns `text` and `embedding`, a list of fixed size."""

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


def expect_format(path: Path) -> None:
    """Check that a file name has a format.

    Raises:
        ConfigError: no format has its suffix.
    """
    if path.suffix not in WRITERS:
        raise ConfigError(
            f"--output {path}: the suffix is none of {', '.join(WRITERS)}", "a folder for shards ends in /"
        )


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """The writer of a file, whose suffix chooses the format; the file is replaced if all goes well.

    Raises:
        ConfigError: no format has the suffix.
    """
    expect_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, "wb") as stream, closing(WRITERS[path.suffix](stream)) as writer:
        yield writer


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array (N, H) to a .npy file."""
    with writing(path) as writer:
        writer.write((), array)

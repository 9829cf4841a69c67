"""Files in each format contain the numbers, types and texts that were written, and are written atomically."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pyarrow import parquet

from embedctl.errors import ConfigError
from embedctl.storage.writers import WRITERS, open_writer

TEXTS = ["one", "", "学习\n\t\u2028", "four", "five"]
DTYPES = ["float32", "float16", "int8"]


def vectors(dtype: str) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((len(TEXTS), 3)) * (1 if dtype.startswith("float") else 50)
    return values.astype(dtype)


def read(path) -> tuple[list[str] | None, np.ndarray]:
    """Return the texts and vectors of a file, read with other packages."""
    if path.suffix == ".npy":
        return None, np.load(path)
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        return [row["text"] for row in rows], np.array([row["embedding"] for row in rows])
    table = parquet.read_table(path)
    lists = table["embedding"].combine_chunks()
    return table["text"].to_pylist(), np.array(lists.values).reshape(-1, lists.type.list_size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", WRITERS)
def test_round_trip_in_two_blocks(suffix, dtype, tmp_path):
    path, expected = tmp_path / "folder" / f"x{suffix}", vectors(dtype)
    with open_writer(path) as writer:
        writer.write(TEXTS[:2], expected[:2])
        writer.write(TEXTS[2:], expected[2:])
    texts, found = read(path)
    assert texts in (None, TEXTS)
    assert found.shape == expected.shape
    assert (found.astype(dtype) == expected).all()
    if suffix != ".jsonl":
        assert found.dtype == np.dtype(dtype)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_array_in_fortran_order(tmp_path):
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    with open_writer(tmp_path / "x.npy") as writer:
        writer.write(["a", "b"], array)
    assert (np.load(tmp_path / "x.npy") == array).all()


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_error_keeps_the_old_file(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")

    def write_and_fail() -> None:
        with open_writer(path) as writer:
            writer.write(TEXTS, vectors("float32"))
            assert path.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_unknown_suffix_is_an_error(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"the suffix is not one of \.npy, \.jsonl, \.parquet"),
        open_writer(tmp_path / "x.bin"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []

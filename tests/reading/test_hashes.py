"""Hashes on disk are read back completely and in ascending order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from embedctl.reading import hashes
from embedctl.reading.hashes import HashPartitions


@pytest.mark.parametrize("block", [1, 100, 1 << 19])
@pytest.mark.parametrize("width", [1, 2])
def test_records_are_sorted_and_equal_hashes_keep_their_order(tmp_path, monkeypatch, block, width):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", block)
    draw = np.random.default_rng(0)
    distinct = draw.integers(0, 1 << 64, 300, dtype=np.uint64)
    records = np.stack([draw.choice(distinct, 1000), np.arange(1000, dtype=np.uint64)][:width], axis=1)
    partitions = HashPartitions(tmp_path / "parts", width)
    for piece in np.array_split(records, 7):
        partitions.add(piece if width > 1 else piece[:, 0])
    found = np.concatenate(list(partitions.sorted_partitions()))
    expected = sorted(records.tolist(), key=lambda record: record[0])
    assert found.tolist() == expected


@pytest.mark.parametrize("block", [1, 1 << 19])
@pytest.mark.parametrize("has_duplicates", [True, False])
def test_sorted_duplicates_leave_out_hashes_that_occur_once(tmp_path, monkeypatch, block, has_duplicates):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", block)
    draw = np.random.default_rng(2)
    distinct = draw.integers(0, 1 << 64, 500, dtype=np.uint64)
    chosen = draw.choice(distinct, 300) if has_duplicates else distinct
    partitions = HashPartitions(tmp_path / "parts", 2)
    partitions.add(np.stack([chosen, np.arange(len(chosen), dtype=np.uint64)], axis=1))
    count = Counter(chosen.tolist())
    expected = [(value, index) for index, value in enumerate(chosen.tolist()) if count[value] > 1]
    found = [tuple(record) for partition in partitions.sorted_duplicates() for record in partition.tolist()]
    assert found == sorted(expected, key=lambda record: record[0])
    assert bool(found) == has_duplicates


def test_equal_hashes_are_never_in_two_partitions(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", 10)
    partitions = HashPartitions(tmp_path, 1)
    records = np.random.default_rng(1).integers(0, 1 << 64, 500, dtype=np.uint64)
    for _ in range(3):
        partitions.add(records)
    found = list(partitions.sorted_partitions())
    assert len(found) > 100
    assert sum(len(np.unique(partition)) for partition in found) == len(np.unique(records))


def test_no_file_remains(tmp_path):
    partitions = HashPartitions(tmp_path / "parts")
    assert list(partitions.sorted_partitions()) == []
    (tmp_path / "parts").rmdir()

"""Hashes on the disk come back whole, in their order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from embedctl.reading import hashes
from embedctl.reading.hashes import HashParts


@pytest.mark.parametrize("block", [1, 100, 1 << 19])
@pytest.mark.parametrize("width", [1, 2])
def test_records_come_back_sorted_equal_hashes_as_they_came(tmp_path, monkeypatch, block, width):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", block)
    draw = np.random.default_rng(0)
    distinct = draw.integers(0, 1 << 64, 300, dtype=np.uint64)
    records = np.stack([draw.choice(distinct, 1000), np.arange(1000, dtype=np.uint64)][:width], axis=1)
    parts = HashParts(tmp_path / "parts", width)
    for piece in np.array_split(records, 7):
        parts.add(piece if width > 1 else piece[:, 0])
    found = np.concatenate(list(parts.sorted_parts()))
    expected = sorted(records.tolist(), key=lambda record: record[0])
    assert found.tolist() == expected


@pytest.mark.parametrize("block", [1, 1 << 19])
@pytest.mark.parametrize("several", [True, False])
def test_repeated_parts_leave_out_what_is_there_once(tmp_path, monkeypatch, block, several):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", block)
    draw = np.random.default_rng(2)
    distinct = draw.integers(0, 1 << 64, 500, dtype=np.uint64)
    chosen = draw.choice(distinct, 300) if several else distinct
    parts = HashParts(tmp_path / "parts", 2)
    parts.add(np.stack([chosen, np.arange(len(chosen), dtype=np.uint64)], axis=1))
    count = Counter(chosen.tolist())
    expected = [(one, place) for place, one in enumerate(chosen.tolist()) if count[one] > 1]
    found = [tuple(record) for part in parts.repeated_parts() for record in part.tolist()]
    assert found == sorted(expected, key=lambda record: record[0])
    assert bool(found) == several


def test_equal_hashes_are_never_in_two_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "BLOCK_RECORDS", 10)
    parts = HashParts(tmp_path, 1)
    records = np.random.default_rng(1).integers(0, 1 << 64, 500, dtype=np.uint64)
    for _ in range(3):
        parts.add(records)
    pieces = list(parts.sorted_parts())
    assert len(pieces) > 100
    assert sum(len(np.unique(piece)) for piece in pieces) == len(np.unique(records))


def test_nothing_is_left_behind(tmp_path):
    parts = HashParts(tmp_path / "parts")
    assert list(parts.sorted_parts()) == []
    (tmp_path / "parts").rmdir()

"""Every kind of damage of a listed file is found, and an undamaged folder is read only once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedctl import digests
from embedctl.digests import find_damage, list_files


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "stored"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"first file")
    (folder / "b.bin").write_bytes(b"other file")
    return folder


DAMAGE = {
    "cut": (lambda path: path.write_bytes(b"first"), "a.bin has 5 bytes instead of 10"),
    "zeroed": (lambda path: path.write_bytes(bytes(10)), "a.bin was changed after it was written"),
    "swapped": (lambda path: shutil.copy2(path.with_name("b.bin"), path), "a.bin was changed after it was written"),
    "removed": (lambda path: path.unlink(), "a.bin is missing"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "a.bin "),
}


@pytest.mark.parametrize("checked_before", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found(stored, kind, checked_before):
    files = list_files(stored, ["a.bin", "b.bin"])
    if checked_before:
        assert find_damage(stored, files) is None
    damage, message = DAMAGE[kind]
    damage(stored / "a.bin")
    assert (find_damage(stored, files) or "").startswith(message)


def test_an_undamaged_folder_is_read_once_and_a_copy_is_read_again(stored, monkeypatch):
    files = list_files(stored, ["a.bin", "b.bin"])
    assert find_damage(stored, files) is None
    read = []
    monkeypatch.setattr(digests, "digest_file", lambda path: read.append(path.name) or files[path.name]["sha256"])
    assert find_damage(stored, files) is None
    assert read == []
    shutil.copytree(stored, stored.with_name("copy"))
    assert find_damage(stored.with_name("copy"), files) is None
    assert read == ["a.bin", "b.bin"]

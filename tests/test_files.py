"""An error during writing leaves a file or folder unchanged."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from embedctl.files import atomic_file, atomic_folder, atomic_path, build_once, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("mode", "content"), [("w", "学习"), ("wb", b"\x00\xff")])
@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_only_at_the_end(tmp_path, mode, content, sync):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_file(path, mode, sync=sync) as stream:
        stream.write(content)
        assert path.read_text() == "old"
    assert path.read_bytes() == (content.encode() if mode == "w" else content)
    assert names(tmp_path) == ["file"]


def test_an_error_leaves_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    with contextlib.suppress(ZeroDivisionError), atomic_file(path) as stream:
        stream.write("incomplete")
        raise ZeroDivisionError
    with contextlib.suppress(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("incomplete")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("sync", [False, True])
def test_a_folder_is_replaced_only_at_the_end(tmp_path, sync):
    folder = tmp_path / "deep/folder"
    for content in ("old", "new"):
        with atomic_folder(folder, sync=sync) as work:
            (work / content).write_text(content)
            assert not (folder / content).exists()
    assert names(folder) == ["new"]
    with contextlib.suppress(ZeroDivisionError), atomic_folder(folder) as work:
        (work / "incomplete").touch()
        raise ZeroDivisionError
    assert names(folder) == ["new"]
    assert names(tmp_path / "deep") == ["folder"]


def test_a_temporary_folder_of_a_killed_process_is_discarded(tmp_path):
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".folder.tmp/incomplete").touch()
    with atomic_folder(tmp_path / "folder") as work:
        (work / "complete").touch()
    assert names(tmp_path / "folder") == ["complete"]


def test_build_once_builds_once_among_threads(tmp_path):
    built: list[Path] = []

    def build(work: Path) -> None:
        built.append(work)
        time.sleep(0.05)
        (work / "complete").touch()

    threads = [threading.Thread(target=build_once, args=(tmp_path / "cache/key", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert names(tmp_path / "cache/key") == ["complete"]

"""The folder of shards: its manifest, continued runs, and errors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from embedctl.errors import ConfigError
from embedctl.storage.shards import ShardFolder

SETTINGS = {"model": "abc", "prompt": "", "dim": 2}


def vectors(start: int, count: int = 2) -> np.ndarray:
    return np.arange(start, start + 2 * count, dtype=np.float32).reshape(count, 2)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder with two complete shards of an unfinished run."""
    shards = ShardFolder(tmp_path / "x", SETTINGS, overwrite=False)
    shards.write(0, ["a", "b"], vectors(0))
    shards.write(1, ["c", "d"], vectors(4))
    return tmp_path / "x"


def reopen(folder: Path, overwrite: bool = False, **changed: object) -> ShardFolder:
    return ShardFolder(folder, SETTINGS | changed, overwrite=overwrite)


def test_the_manifest_lists_the_shards_with_their_digests(folder):
    reopen(folder).finish(2)
    manifest = json.loads((folder / "manifest.json").read_text())
    digests = [hashlib.sha256((folder / f"shard-0000{index}.npy").read_bytes()).hexdigest() for index in (0, 1)]
    assert {name: manifest[name] for name in SETTINGS} == SETTINGS
    assert (manifest["rows"], manifest["complete"], manifest["ranges"]) == (4, True, None)
    assert [(entry["file"], entry["rows"], entry["sha256"]) for entry in manifest["shards"]] == [
        ("shard-00000.npy", 2, digests[0]),
        ("shard-00001.npy", 2, digests[1]),
    ]


def test_complete_shards_of_the_same_texts_are_kept(folder):
    shards = reopen(folder)
    assert [shards.is_complete(0, ["a", "b"]), shards.is_complete(1, ["c", "d"]), shards.is_complete(2, ["e"])] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("texts", [["c", "e"], ["cd", ""], ["c"], ["c", "d", "e"], ["d", "c"]])
def test_other_texts_are_an_error(folder, texts):
    with pytest.raises(ConfigError, match=r"shard-00001\.npy was made from texts that differ"):
        reopen(folder).is_complete(1, texts)


def test_fewer_texts_are_an_error(folder):
    with pytest.raises(ConfigError, match="more texts than the input"):
        reopen(folder).finish(1)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"half")])
def test_a_damaged_shard_is_written_again(folder, damage, capsys):
    before = (folder / "shard-00000.npy").read_bytes()
    damage(folder / "shard-00000.npy")
    shards = reopen(folder)
    assert not shards.is_complete(0, ["a", "b"])
    assert "missing or damaged" in capsys.readouterr().err
    shards.write(0, ["a", "b"], vectors(0))
    assert (folder / "shard-00000.npy").read_bytes() == before
    reopen(folder).finish(2)
    assert reopen(folder).manifest["rows"] == 4
    assert reopen(folder).is_complete(1, ["c", "d"])


def test_other_settings_are_an_error_and_the_folder_is_not_changed(folder):
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match="other settings: --model, --dim") as error:
        reopen(folder, model="other", dim=3)
    assert "--overwrite" in error.value.hint
    assert (folder / "manifest.json").read_bytes() == before


def test_overwrite_deletes_the_shards(folder):
    (folder / "notes.md").write_text("text")
    shards = reopen(folder, overwrite=True, model="other")
    assert not shards.is_complete(0, ["a", "b"])
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "notes.md"]


def test_a_folder_with_other_files_is_an_error(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ConfigError, match="contains files that are not shards"):
        reopen(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": "abc", "prompt": "", "dim": 2}'])
def test_an_invalid_manifest_is_an_error(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ConfigError, match=r"manifest\.json: the file is not a manifest of shards"):
        reopen(tmp_path)


def test_ranges_are_restored_exactly(tmp_path):
    ranges = np.random.default_rng(0).standard_normal((2, 2)).astype(np.float32)
    reopen(tmp_path).write(0, ["a"], np.zeros((1, 2), dtype=np.int8), ranges)
    found = reopen(tmp_path).ranges
    assert found is not None
    assert found.dtype == np.float32
    assert (found == ranges).all()


@pytest.mark.parametrize("content", ['{"fi', "{}", "[]", "null", '{"file": "../other.npy", "rows": 2, "ranges": null}'])
def test_a_damaged_entry_of_a_shard_is_reported_and_not_used(folder, content, capsys):
    (folder / "shard-00001.json").write_text(content)
    (folder / "shard-notes.json").write_text('{"a": 1}')
    shards = reopen(folder)
    assert 1 not in shards.entries
    assert "shard-00001.json: the file is damaged" in capsys.readouterr().err.replace("\n", " ")


def test_overwrite_keeps_files_with_similar_names(folder):
    (folder / "shard-notes.txt").write_text("mine")
    (folder / "shard-dir").mkdir()
    reopen(folder, overwrite=True)
    assert (folder / "shard-notes.txt").read_text() == "mine"
    assert (folder / "shard-dir").is_dir()

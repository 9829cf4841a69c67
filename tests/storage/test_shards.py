"""The folder of shards: what it records, when it goes on, when it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from embedctl.errors import ConfigError
from embedctl.storage.shards import Shards

RECIPE = {"model": "abc", "prompt": "", "dim": 2}


def vectors(start: int, count: int = 2) -> np.ndarray:
    return np.arange(start, start + 2 * count, dtype=np.float32).reshape(count, 2)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two whole shards of an unfinished run."""
    shards = Shards(tmp_path / "x", RECIPE, overwrite=False)
    shards.write(0, ["a", "b"], vectors(0))
    shards.write(1, ["c", "d"], vectors(4))
    return tmp_path / "x"


def again(folder: Path, overwrite: bool = False, **changed: object) -> Shards:
    return Shards(folder, RECIPE | changed, overwrite=overwrite)


def test_the_manifest(folder):
    again(folder).complete(2)
    document = json.loads((folder / "manifest.json").read_text())
    digests = [hashlib.sha256((folder / f"shard-0000{place}.npy").read_bytes()).hexdigest() for place in (0, 1)]
    assert {name: document[name] for name in RECIPE} == RECIPE
    assert (document["rows"], document["complete"], document["ranges"]) == (4, True, None)
    assert [(entry["file"], entry["rows"], entry["sha256"]) for entry in document["shards"]] == [
        ("shard-00000.npy", 2, digests[0]),
        ("shard-00001.npy", 2, digests[1]),
    ]


def test_it_goes_on_where_the_texts_are_the_same(folder):
    shards = again(folder)
    assert [shards.holds(0, ["a", "b"]), shards.holds(1, ["c", "d"]), shards.holds(2, ["e"])] == [True, True, False]


@pytest.mark.parametrize("texts", [["c", "e"], ["cd", ""], ["c"], ["c", "d", "e"], ["d", "c"]])
def test_other_texts_are_refused(folder, texts):
    with pytest.raises(ConfigError, match=r"shard-00001\.npy was made of other texts"):
        again(folder).holds(1, texts)


def test_fewer_texts_are_refused(folder):
    with pytest.raises(ConfigError, match="more texts than the input has"):
        again(folder).complete(1)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"half")])
def test_a_damaged_shard_is_made_again_in_its_place(folder, damage, capsys):
    before = (folder / "shard-00000.npy").read_bytes()
    damage(folder / "shard-00000.npy")
    shards = again(folder)
    assert not shards.holds(0, ["a", "b"])
    assert "missing or damaged" in capsys.readouterr().err
    shards.write(0, ["a", "b"], vectors(0))
    assert (folder / "shard-00000.npy").read_bytes() == before
    again(folder).complete(2)
    assert again(folder).document["rows"] == 4
    assert again(folder).holds(1, ["c", "d"])


def test_another_recipe_is_refused_and_leaves_the_folder_alone(folder):
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match="another model, dim") as refused:
        again(folder, model="other", dim=3)
    assert "--overwrite" in refused.value.hint
    assert (folder / "manifest.json").read_bytes() == before


def test_overwrite_begins_anew(folder):
    (folder / "notes.md").write_text("mine")
    shards = again(folder, overwrite=True, model="other")
    assert not shards.holds(0, ["a", "b"])
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "notes.md"]


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"dear")
    with pytest.raises(ConfigError, match="holds files that are no shards"):
        again(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": "abc", "prompt": "", "dim": 2}'])
def test_a_broken_manifest_is_said(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ConfigError, match=r"manifest\.json: is no manifest of shards"):
        again(tmp_path)


def test_ranges_come_back_exactly(tmp_path):
    ranges = np.random.default_rng(0).standard_normal((2, 2)).astype(np.float32)
    again(tmp_path).write(0, ["a"], np.zeros((1, 2), dtype=np.int8), ranges)
    found = again(tmp_path).ranges
    assert found is not None
    assert found.dtype == np.float32
    assert (found == ranges).all()

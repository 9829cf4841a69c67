"""Shipped files are found in a checkout and in an installation; the cache goes where the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedctl import resources


def test_a_checkout_has_its_files_beside_the_package():
    assert resources.example_data("train.json").is_file()
    assert resources.config_file("default_fsdp.yaml").is_file()
    assert resources.example_data() == resources.PACKAGE.parent / "example_data"


def test_an_installation_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "embedctl"
    for folder in (package / "config", tmp_path / "config"):  # the second: somebody else's of the same name
        folder.mkdir(parents=True)
        (folder / "train.yaml").touch()
    monkeypatch.setattr(resources, "PACKAGE", package)
    assert resources.config_file("train.yaml") == package / "config" / "train.yaml"
    with pytest.raises(FileNotFoundError, match="example_data"):
        resources.shipped("example_data")


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("EMBEDCTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resources.cache_folder() == tmp_path / ".cache" / "embedctl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert resources.cache_folder("stores") == tmp_path / "x" / "embedctl" / "stores"
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path / "own"))
    assert resources.cache_folder("stores") == tmp_path / "own" / "stores"
    assert not (tmp_path / "own").exists()


def test_the_manuals_file_names_fall_back_to_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path, is_example = resources.input_or_example("texts.txt")
    assert is_example
    assert Path(path) == resources.example_data("texts.txt")
    assert resources.input_or_example("mine.txt") == ("mine.txt", False)
    Path("texts.txt").write_text("own", encoding="utf-8")
    assert resources.input_or_example("texts.txt") == ("texts.txt", False)


def test_a_path_is_shown_as_short_as_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert resources.shown(str(tmp_path / "a" / "b.json")) == "a/b.json"
    assert resources.shown(str(resources.example_data("eval.json"))) == "example_data/eval.json"
    assert resources.shown("/elsewhere/b.json") == "/elsewhere/b.json"
    assert resources.shown("a.json:2") == "a.json:2"
    monkeypatch.chdir(resources.example_data().parent.parent)  # as where a virtual environment lies in the folder
    assert resources.shown(str(resources.example_data("eval.json"))) == "example_data/eval.json"

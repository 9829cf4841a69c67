"""Shipped files are found in a checkout and in an installation; the environment sets the cache folder."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from embedctl import resources
from embedctl.errors import ConfigError


def test_shipped_files_of_a_checkout_are_beside_the_package():
    assert resources.example_data("train.json").is_file()
    assert resources.config_file("default_fsdp.yaml").is_file()
    assert resources.example_data() == resources.PACKAGE.parent / "example_data"


def test_shipped_files_of_an_installation_are_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "embedctl"
    for folder in (package / "config", tmp_path / "config"):  # the second belongs to another program
        folder.mkdir(parents=True)
        (folder / "train.yaml").touch()
    monkeypatch.setattr(resources, "PACKAGE", package)
    assert resources.config_file("train.yaml") == package / "config" / "train.yaml"
    with pytest.raises(FileNotFoundError, match="example_data"):
        resources.shipped_path("example_data")


def test_the_environment_sets_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("EMBEDCTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resources.cache_folder() == tmp_path / ".cache" / "embedctl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert resources.cache_folder("stores") == tmp_path / "x" / "embedctl" / "stores"
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path / "own"))
    assert resources.cache_folder("stores") == tmp_path / "own" / "stores"
    assert not (tmp_path / "own").exists()


def test_missing_files_of_the_manual_are_replaced_by_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path, is_example = resources.input_or_example("texts.txt")
    assert is_example
    assert Path(path) == resources.example_data("texts.txt")
    assert resources.input_or_example("mine.txt") == ("mine.txt", False)
    Path("texts.txt").write_text("own", encoding="utf-8")
    assert resources.input_or_example("texts.txt") == ("texts.txt", False)


def test_display_path_shortens_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert resources.display_path(str(tmp_path / "a" / "b.json")) == "a/b.json"
    assert resources.display_path(str(resources.example_data("eval.json"))) == "example_data/eval.json"
    assert resources.display_path("/elsewhere/b.json") == "/elsewhere/b.json"
    assert resources.display_path("a.json:2") == "a.json:2"
    monkeypatch.chdir(resources.example_data().parent.parent)  # as with a virtual environment inside the working folder
    assert resources.display_path(str(resources.example_data("eval.json"))) == "example_data/eval.json"


def test_a_user_without_home_and_name_has_a_temporary_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise KeyError

    for name in ("EMBEDCTL_CACHE", "XDG_CACHE_HOME", "HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", fail)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    for name in resources.LIBRARY_FOLDERS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    resources.complete_environment()
    home = tmp_path / f"embedctl-{os.getuid()}"
    assert os.environ["HOME"] == str(home)
    assert getpass.getuser() == str(os.getuid())
    assert resources.private_cache("stores").is_relative_to(tmp_path)
    assert Path(os.environ["TRITON_CACHE_DIR"]).is_dir()


def test_a_cache_folder_that_the_user_named_is_used_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"EMBEDCTL_CACHE=.*file: the folder cannot be written"):
        resources.private_cache("stores")

"""What doctor finds, and that only what embedctl can't do without makes it fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedctl.commands import doctor
from embedctl.errors import CheckFailed


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(doctor, "NEEDED", {"tokenizers": ("tokenizers", "0.21")})
    return tmp_path


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    document = json.loads(capsys.readouterr().out)
    return {finding["name"]: finding for finding in document["findings"]} | {"ok": document["ok"]}


def test_a_healthy_machine(capsys):
    doctor.command(json_output=True, quiet=True)
    findings = found(capsys)
    assert findings["ok"] is True
    assert findings["hub"]["value"] == "offline by HF_HUB_OFFLINE"
    assert findings["tokenizers"]["value"][0].isdigit()
    assert int(findings["CPU cores"]["value"]) >= 1
    assert not any(finding["broken"] for name, finding in findings.items() if name != "ok")


def test_what_it_says_to_a_person(capsys):
    doctor.command()
    out, err = capsys.readouterr()
    assert out == ""
    assert "tokenizers" in err
    assert "nothing is missing" in err


@pytest.mark.parametrize(
    ("package", "module", "oldest", "words"),
    [
        ("no-such-package", "none", "1.0", "not installed"),
        ("tokenizers", "tokenizers", "999", "older than 999"),
        ("tokenizers", "no_such_module", "0.1", "can't be imported"),
    ],
)
def test_a_package_that_will_not_do(package, module, oldest, words, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "NEEDED", {package: (module, oldest)})
    with pytest.raises(CheckFailed) as failed:
        doctor.command(json_output=True)
    assert words in failed.value.message
    assert failed.value.hint == f"pip install --upgrade '{package}>={oldest}'"
    assert failed.value.exit_code == 1
    assert found(capsys)["ok"] is False


def test_a_token_cache_that_is_a_file_is_broken(own_folders, capsys):
    (own_folders / "own").write_text("not a folder")
    with pytest.raises(CheckFailed, match="can't be written"):
        doctor.command(json_output=True)
    assert "EMBEDCTL_CACHE" in found(capsys)["cache of token stores"]["advice"]


def test_a_model_cache_that_can_not_be_written_is_not(own_folders, capsys):
    (own_folders / "hub").write_text("not a folder")
    doctor.command(json_output=True)
    finding = found(capsys)["cache of models"]
    assert "HF_HOME" in finding["advice"]
    assert finding["broken"] is False


def test_the_size_of_a_cache_counts_each_file_once(own_folders, capsys):
    blob = own_folders / "hub" / "blobs" / "weights"
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as file:
        file.truncate(3 * 2**30)
    (own_folders / "hub" / "snapshot").symlink_to(blob)
    doctor.command(json_output=True)
    assert "(3.0 GiB" in found(capsys)["cache of models"]["value"]


def test_missing_example_data_is_broken(monkeypatch, capsys):
    def missing(folder: str) -> Path:
        raise FileNotFoundError(f"{folder} is missing")

    monkeypatch.setattr(doctor, "shipped", missing)
    with pytest.raises(CheckFailed, match="example_data is missing"):
        doctor.command(json_output=True)
    assert found(capsys)["example data"]["advice"] == "install embedctl again"


def test_missing_extras_are_named_with_what_installs_them(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "EXTRAS", {"no_such_extra": ("--something", "pip install it")})
    doctor.command(json_output=True)
    extra = found(capsys)["no_such_extra"]
    assert extra["value"] == "not installed; only --something needs it"
    assert (extra["advice"], extra["broken"]) == ("pip install it", False)

"""Tests of `embedctl doctor`: its findings, and which of them make the command fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedctl.commands import doctor
from embedctl.errors import CheckFailed


@pytest.fixture(autouse=True)
def cache_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path / "embedctl"))
    monkeypatch.setattr(doctor, "REQUIRED_PACKAGES", {"tokenizers": ("tokenizers", "0.21")})
    return tmp_path


def read_findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    summary = json.loads(capsys.readouterr().out)
    return {finding["name"]: finding for finding in summary["findings"]} | {"ok": summary["ok"]}


def test_no_problem_is_found(capsys):
    doctor.command(json_output=True, quiet=True)
    findings = read_findings(capsys)
    assert findings["ok"] is True
    assert findings["Hugging Face Hub"]["value"].startswith("offline mode")
    assert findings["tokenizers"]["value"][0].isdigit()
    assert int(findings["CPU cores"]["value"]) >= 1
    assert not any(finding["broken"] for name, finding in findings.items() if name != "ok")


def test_without_json_the_panel_goes_to_stderr(capsys):
    doctor.command()
    out, err = capsys.readouterr()
    assert out == ""
    assert "tokenizers" in err
    assert "all required packages and folders are available" in err


@pytest.mark.parametrize(
    ("package", "module", "oldest", "problem"),
    [
        ("no-such-package", "none", "1.0", "not installed"),
        ("tokenizers", "tokenizers", "999", "older than 999"),
        ("tokenizers", "no_such_module", "0.1", "cannot be imported"),
    ],
)
def test_a_missing_old_or_broken_package_is_an_error(package, module, oldest, problem, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "REQUIRED_PACKAGES", {package: (module, oldest)})
    with pytest.raises(CheckFailed) as failed:
        doctor.command(json_output=True)
    assert problem in failed.value.message
    assert failed.value.hint == f"run `pip install --upgrade '{package}>={oldest}'`"
    assert failed.value.exit_code == 1
    assert read_findings(capsys)["ok"] is False


def test_a_token_store_cache_that_cannot_be_written_is_an_error(cache_folders, capsys):
    (cache_folders / "embedctl").write_text("not a folder")
    with pytest.raises(CheckFailed, match="the folder cannot be written"):
        doctor.command(json_output=True)
    assert "EMBEDCTL_CACHE" in read_findings(capsys)["embedctl cache"]["advice"]


def test_a_model_cache_that_cannot_be_written_is_reported_without_failure(cache_folders, capsys):
    (cache_folders / "hub").write_text("not a folder")
    doctor.command(json_output=True)
    finding = read_findings(capsys)["Hugging Face cache"]
    assert "HF_HOME" in finding["advice"]
    assert finding["broken"] is False


def test_the_size_of_a_cache_counts_each_file_once(cache_folders, capsys):
    blob = cache_folders / "hub" / "blobs" / "weights"
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as file:
        file.truncate(3 * 2**30)
    (cache_folders / "hub" / "snapshot").symlink_to(blob)
    doctor.command(json_output=True)
    assert "(3.0 GiB used" in read_findings(capsys)["Hugging Face cache"]["value"]


def test_missing_example_data_is_an_error(monkeypatch, capsys):
    def missing(folder: str) -> Path:
        raise FileNotFoundError(f"{folder} is missing")

    monkeypatch.setattr(doctor, "shipped_path", missing)
    with pytest.raises(CheckFailed, match="example_data is missing"):
        doctor.command(json_output=True)
    assert read_findings(capsys)["example data"]["advice"].startswith("run `pip install ")


def test_a_missing_optional_package_is_reported_with_its_install_command(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "OPTIONAL_PACKAGES", {"no_such_package": ("--option", "pip install it")})
    doctor.command(json_output=True)
    finding = read_findings(capsys)["no_such_package"]
    assert finding["value"] == "not installed; required only for --option"
    assert (finding["advice"], finding["broken"]) == ("run `pip install it`", False)

"""Credentials are found in settings, which are refused before anything is written, and removed from messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from embedctl import console
from embedctl.config import EncodeConfig, TrainConfig, load
from embedctl.credentials import credential_in, masked
from embedctl.distributed.worker import LAUNCHER_PID, report_failure
from embedctl.errors import ConfigError, first_line

TOKEN = "hf_abcdefghijklmnop"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:secret@host/model", "https://***@host/model"),
        ("https://secret@host:80/model and http://a:b@c", "https://***@host:80/model and http://***@c"),
        (f"hf download --token {TOKEN}", "hf download --token ***"),
    ],
)
def test_credentials_are_found_and_masked(text, expected):
    assert credential_in(text)
    assert masked(text) == expected


@pytest.mark.parametrize("text", ["https://host/@user", "mail@host", "BAAI/bge-m3", "s3://bucket/a?b=c@d", "out"])
def test_other_texts_have_no_credentials(text, monkeypatch):
    monkeypatch.setenv("OUTPUT_TOKEN", "out")  # short values are ordinary words
    assert credential_in(text) == ""
    assert masked(text) == text


@pytest.mark.parametrize(
    "name",
    [
        *("WANDB_API_KEY", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"),
        *("HF_TOKEN_READ", "OPENAI_KEY", "GITHUB_PAT", "DB_PASS", "MY_CREDENTIALS"),
    ],
)
def test_the_variable_is_named_without_its_value(name, monkeypatch):
    monkeypatch.setenv(name, "0123456789abcdef")
    assert credential_in("out-0123456789abcdef") == f"the value of the environment variable {name}"


def test_a_line_break_at_the_end_of_a_variable_is_not_part_of_the_credential(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    assert masked(f"org/{TOKEN}/model") == "org/***/model"


def test_the_path_of_a_file_with_credentials_is_not_secret(monkeypatch, tmp_path):
    (tmp_path / "credentials.json").touch()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    assert credential_in(f"{tmp_path}/credentials.json") == ""


@pytest.mark.parametrize("value", ["https://user:secret@host/model", f"org/{TOKEN}"])
def test_an_option_with_a_credential_is_refused(value, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps({"model": {"model_name_or_path": value}}))
    texts = tmp_path / "d.yaml"
    texts.write_text(json.dumps({"data": {"dataset": ["rows.jsonl", value]}}))
    for arguments in ((None, {"model_name_or_path": value}), (str(file), {}), (str(texts), {})):
        with pytest.raises(ConfigError, match="contains the") as refused:
            load(TrainConfig, *arguments)
        assert value not in refused.value.message + refused.value.hint
    with pytest.raises(ConfigError, match="--output contains the"):
        load(EncodeConfig, None, {"output": value})


def test_train_writes_nothing_with_a_credential_in_an_option(tmp_path):
    arguments = ["train", "--model", "https://user:secret@host/model", "-o", "out"]
    command = [sys.executable, "-m", "embedctl", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "secret" not in ended.stdout + ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_messages_and_reports_of_failures_contain_no_credentials(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv(LAUNCHER_PID, "1")  # else the failure is also printed
    text = f"https://user:secret@host and {TOKEN}"
    console.configure()
    for write in (console.info, console.warn, lambda text: console.error(text, text)):
        write(text)
    report_failure(tmp_path, 70, text, text, text)
    written = capfd.readouterr().err + first_line(OSError(text))
    written += "".join(path.read_text() for path in Path(tmp_path).iterdir())
    assert "secret" not in written
    assert TOKEN not in written
    assert written.count("https://***@host and ***") == 8

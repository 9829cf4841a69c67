"""The command line as users run it: exit codes, no tracebacks for user errors, fast help, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import embedctl
from embedctl import cli
from embedctl.errors import CheckFailed, DataError

COMMANDS = ["validate-data", "mine-negatives", "train", "eval", "encode", "search", "doctor"]
# Modules that are slow to import; help must not import them.
HEAVY = "{'torch', 'transformers', 'sentence_transformers', 'accelerate', 'faiss', 'numpy', 'pyarrow'}"
CHECK_IMPORTS = f"""
import sys
from embedctl.cli import main
sys.argv = ["embedctl", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {HEAVY} & set(sys.modules)
    assert not heavy, heavy
"""


def run(*arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the app in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "embedctl", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments):
    outcome = subprocess.run(
        [sys.executable, "-c", CHECK_IMPORTS, *arguments], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""


def test_version():
    outcome = run("--version")
    assert (outcome.returncode, outcome.stdout) == (0, f"embedctl {embedctl.__version__}\n")


def test_without_arguments_it_prints_the_help():
    outcome = run()
    assert "Traceback" not in outcome.stderr
    for name in COMMANDS:
        assert name in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["traain"], "train"),
        (["train", "--no-such-flag"], "--no-such-flag"),
        (["train", "--lr"], "--lr"),
        (["validate-data"], "no file"),
        (["eval", "--corpus", "c.jsonl"], "--qrels"),
        (["train", "--config", "none.yaml"], "none.yaml"),
        (["train", "--dataset", "none.json"], "none.json"),
        (["encode", "--ckpt", "none"], "none"),
    ],
)
def test_a_user_error_is_a_message_and_exit_code_2(arguments, text, tmp_path):
    outcome = run(*arguments, folder=tmp_path)
    assert outcome.returncode == 2, outcome.stderr
    assert text in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_all_invalid_values_are_listed(tmp_path):
    outcome = run("train", "--lr", "fast", "--neg_nums", "-1", "--lr-scheduler", "sine", folder=tmp_path)
    assert outcome.returncode == 2
    for name in ("--lr:", "--neg-nums:", "--lr-scheduler:"):
        assert name in outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_of_each_shell(shell):
    outcome = run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert outcome.returncode == 0, outcome.stderr
    assert "_EMBEDCTL_COMPLETE" in outcome.stdout


@pytest.mark.parametrize(
    ("typed", "expected"), [("embedctl mi", "mine-negatives"), ("embedctl train --warm", "--warmup-proportion")]
)
def test_completion_of_commands_and_options(typed, expected):
    outcome = subprocess.run(
        [Path(sys.executable).with_name("embedctl")],
        capture_output=True,
        text=True,
        env=os.environ
        | {"_EMBEDCTL_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))},
        check=False,
    )
    assert expected in outcome.stdout.split()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["train", "--resume"], ["train", "--resume=latest"]),
        (["train", "--resume", "--quiet"], ["train", "--resume=latest", "--quiet"]),
        (["train", "--resume", "out"], ["train", "--resume", "out"]),
        (["train", "--resume=out"], ["train", "--resume=out"]),
        ([], []),
    ],
)
def test_resume_without_a_value_means_the_newest_checkpoint(typed, expected):
    assert cli.with_default_resume(typed) == expected


def exit_code_of(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    def fail(arguments: list[str], prog_name: str) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["embedctl"])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    return exit_info.value.code


def test_exceptions_become_messages_and_exit_codes(monkeypatch, capsys):
    assert exit_code_of(DataError("rows.json:3: pos: the list is empty", "fix line 3"), monkeypatch) == 2
    assert capsys.readouterr().err == "error: rows.json:3: pos: the list is empty\n  -> fix line 3\n"
    assert exit_code_of(CheckFailed("nDCG@10 is 0.3, below 0.4"), monkeypatch) == 1
    assert exit_code_of(KeyboardInterrupt(), monkeypatch) == 130


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(arguments: list[str], prog_name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_arguments_and_working_folders_that_are_not_utf8_are_refused(tmp_path):
    outcome = run("search", os.fsdecode(b"caf\xe9 au lait"))
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("error: the argument caf\\xe9 au lait is not UTF-8\n  -> ")
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    outcome = run("validate-data", "rows.jsonl", folder=folder, PYTHONPATH=str(Path(embedctl.__file__).parents[1]))
    assert outcome.returncode == 2
    assert "caf\\xe9 is not UTF-8" in outcome.stderr


def test_help_on_a_narrow_terminal_has_descriptions_of_readable_width():
    lines = run("search", "--help", COLUMNS="40").stdout.splitlines()
    assert "│     queries to search with           │" in lines
    assert max(map(len, lines[: next(i for i, line in enumerate(lines) if line.startswith("Examples"))])) <= 40


def test_a_bug_has_a_traceback_and_its_own_exit_code(monkeypatch, capsys):
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    try:
        {}["missing"]
    except KeyError as bug:
        cli.report_bug(type(bug), bug, bug.__traceback__)
    messages = capsys.readouterr().err
    assert codes == [70]
    assert "Traceback" in messages
    assert "report it with the traceback above" in messages

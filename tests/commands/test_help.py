"""The help of the app and of each command: panels, whole names at any width, defaults, and examples to copy."""

from __future__ import annotations

import importlib
import re
import shlex

import pytest
import typer.main
from typer.testing import CliRunner

from embedctl import config
from embedctl.cli import COMMANDS, app
from embedctl.commands.help import FOOTER, MAIN_OPTIONS, OUTPUT, PANELS
from embedctl.config import cli_option, flag_of, option_fields

CONFIGS = {
    "validate-data": config.ValidateConfig,
    "mine-negatives": config.MineConfig,
    "train": config.TrainConfig,
    "eval": config.EvalConfig,
    "encode": config.EncodeConfig,
    "search": config.SearchConfig,
    "doctor": config.DoctorConfig,
}
GROUP = typer.main.get_command(app)


def help_text(*command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = CliRunner().invoke(app, [*command, "--help"])
    assert outcome.exit_code == 0
    return outcome.stdout


def panels(text: str) -> dict[str, str]:
    """Return the text of each panel by its title."""
    found: dict[str, str] = {}
    title = ""
    for line in text.splitlines():
        if line.startswith("╭─ "):
            title = line.split("─ ")[1].split(" ─")[0]
            found[title] = ""
        elif line.startswith("╰"):
            title = ""
        elif title:
            assert line.startswith("│ ")
            assert line.endswith(" │")
            found[title] += line[2:-2].rstrip() + "\n"
    return found


def examples(name: str) -> list[str]:
    """Return the lines of a command's examples."""
    text: str = importlib.import_module(f"embedctl.commands.{COMMANDS[name]}").EXAMPLES
    return text.strip().splitlines()


def test_all_commands_are_tested():
    assert list(GROUP.commands) == list(CONFIGS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_option_is_whole_and_in_one_panel(name, columns, monkeypatch):
    text = help_text(name, columns=columns, monkeypatch=monkeypatch)
    assert "…" not in text
    assert "<bool>" not in text
    found = panels(text)
    for path, field in option_fields(CONFIGS[name]).items():
        option = cli_option(field)
        names = [*option.names, *([] if path[-1] == "json_output" else [flag_of(path[-1])])]
        panel = MAIN_OPTIONS if path[-1] in CONFIGS[name].main_options else option.panel
        for spelling in [f"{option.metavar}..."] if option.positional else names:
            pattern = re.compile(rf"(^|, ){re.escape(spelling)}(?![\w-])", re.MULTILINE)
            assert [title for title, body in found.items() if pattern.search(body)] == [panel], spelling
    outside = "\n".join(line for line in text.splitlines() if line[:1] not in "│╭╰")
    assert not re.findall(r"^\s+--", outside.split("Examples\n")[0], re.MULTILINE)


@pytest.mark.parametrize("name", CONFIGS)
def test_panels_begin_with_the_main_options_and_end_with_output(name, monkeypatch):
    found = panels(help_text(name, columns=100, monkeypatch=monkeypatch))
    assert list(found) == [title for title in (*PANELS, OUTPUT) if title in found]
    assert (MAIN_OPTIONS in found) == bool(CONFIGS[name].main_options)
    assert re.findall(r"-[-\w]+(?= |$)", " ".join(found[OUTPUT].split()))[-1] == "--help"
    assert "--config FILE" in found[OUTPUT]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_description_is_one_to_three_sentences(name):
    description = " ".join((GROUP.commands[name].help or "").split())  # type: ignore[attr-defined]
    assert description.endswith(".")
    assert 1 <= len(re.findall(r"\.( |$)", description)) <= 3


@pytest.mark.parametrize("name", CONFIGS)
def test_examples_are_printed_without_added_line_breaks(name, monkeypatch):
    lines = examples(name)
    assert max(map(len, lines)) <= 78
    text = help_text(name, columns=60, monkeypatch=monkeypatch)
    printed = text.split("Examples\n")[1].splitlines()[: len(lines)]
    assert [line.removeprefix("  ") for line in printed] == lines
    assert text.rstrip().endswith(FOOTER[-20:])


@pytest.mark.parametrize("name", CONFIGS)
def test_examples_have_a_comment_and_valid_options(name):
    blocks = "\n".join(examples(name)).split("\n\n")
    assert 2 <= len(blocks) <= 3
    for block in blocks:
        comment, command = block.split("\n", 1)
        assert re.fullmatch(r"# .*\.", comment)
        arguments = shlex.split(command.replace("\\\n", ""))
        assert arguments[:2] == ["embedctl", name]
        GROUP.commands[name].make_context(name, arguments[2:])  # type: ignore[attr-defined]


def test_defaults_are_shown_also_those_that_equal_true(monkeypatch):
    text = help_text("train", columns=200, monkeypatch=monkeypatch)
    for flag, value in {"--max-grad-norm": "1.0", "--num-machines": "1", "--lora-rank": "0", "--lr": "2e-05"}.items():
        assert re.search(rf"{flag} .*\(default: {re.escape(value)}\)", text), flag
    assert "(default: False)" not in text
    assert "(default: None)" not in text
    assert "--no-overwrite" not in text


def test_the_help_of_the_app_lists_commands_with_a_sentence_each(monkeypatch):
    text = help_text(columns=200, monkeypatch=monkeypatch)
    found = panels(text)
    assert [line.split()[0] for line in found["Commands"].splitlines()] == list(CONFIGS)
    assert all(re.fullmatch(r"\S+ +[A-Z][^.]*\.", line) for line in found["Commands"].splitlines())
    assert "<bool>" not in text
    for option in ("--version", "--install-completion", "--show-completion", "-h, --help"):
        assert re.search(rf"^{option} +[a-z]", found["Options"], re.MULTILINE)

"""The help of every command: whole names at any width, a heading over every option, defaults, an example."""

from __future__ import annotations

import re

import pytest
import typer.main
from typer.testing import CliRunner

from embedctl import config
from embedctl.cli import app
from embedctl.commands.help import FOOT
from embedctl.config import flag_of, leaves, shown_as

CONFIGS = {
    "validate-data": config.ValidateConfig,
    "mine-negatives": config.MineConfig,
    "train": config.TrainConfig,
    "encode": config.EncodeConfig,
    "search": config.SearchConfig,
    "eval": config.EvalConfig,
    "doctor": config.DoctorConfig,
}


def shown(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = CliRunner().invoke(app, [name, "--help"])
    assert outcome.exit_code == 0
    return outcome.stdout


def panels(text: str) -> dict[str, str]:
    """The text under each heading."""
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


def test_every_command_is_looked_at():
    assert set(typer.main.get_command(app).commands) == set(CONFIGS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_option_stands_whole_under_its_heading(name, columns, monkeypatch):
    text = shown(name, columns, monkeypatch)
    assert "…" not in text
    under = panels(text)
    for path, field in leaves(CONFIGS[name]).items():
        flag = shown_as(field)
        own = [flag_of(path[-1])] if not flag.positional and path[-1] != "json_output" else []
        for spelling in [*own, *flag.names] or [flag.positional]:
            assert re.search(rf"(^|, ){re.escape(spelling)}\b", under[flag.panel].replace("...", ""), re.M) or (
                flag.positional and flag.positional in under[flag.panel]
            ), spelling
    assert "--config FILE" in under["Run"]
    assert "-h, --help" in under["Output"]
    outside = "\n".join(line for line in text.splitlines() if line[:1] not in "│╭╰")
    assert not re.findall(r"^\s+--", outside, re.M)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_example_can_be_copied(name, monkeypatch):
    text = shown(name, 60, monkeypatch)
    example = text.split("Example\n")[1].splitlines()[0]
    assert example.startswith(f"  embedctl {name}")
    assert text.rstrip().endswith(FOOT[-20:])


def test_defaults_are_shown_also_those_that_equal_true(monkeypatch):
    text = shown("train", 200, monkeypatch)
    for flag, value in {"--max-grad-norm": "1.0", "--num-machines": "1", "--lora-rank": "0", "--lr": "2e-05"}.items():
        assert re.search(rf"{flag} .*\(default: {re.escape(value)}\)", text), flag
    assert "(default: False)" not in text
    assert "(default: None)" not in text
    assert "--no-overwrite" not in text

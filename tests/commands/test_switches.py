"""Switches with a value on the command line."""

from __future__ import annotations

import pytest
import typer

from embedctl.cli import app
from embedctl.commands.switches import with_switch_values


def replaced(command: str, *arguments: str) -> list[str]:
    group = typer.main.get_command(app)
    return with_switch_values(group.commands[command].params, arguments)


@pytest.mark.parametrize("value", ["1", "true", "Yes", "on"])
def test_a_value_that_turns_a_switch_on(value):
    assert replaced("train", "--save_on_epoch_end", value, "--lr", "1") == ["--save-on-epoch-end", "--lr", "1"]
    assert replaced("train", f"--save-on-epoch-end={value}") == ["--save-on-epoch-end"]


@pytest.mark.parametrize("value", ["0", "false", "No", "off"])
def test_a_value_that_turns_a_switch_off(value):
    assert replaced("train", "--save_on_epoch_end", value) == ["--no-save-on-epoch-end"]
    assert replaced("train", "--cpu", value, "--json", value) == ["--no-cpu", "--no-json-output"]


def test_every_switch_of_every_command_takes_a_value():
    group = typer.main.get_command(app)
    for command in group.commands.values():
        for option in command.params:
            if getattr(option, "is_flag", False) and not option.hidden and option.name != "help":
                for name in option.opts:
                    assert with_switch_values(command.params, [f"{name}=0"])[0].startswith("--no-")


def test_other_values_stay():
    assert replaced("train", "--save-on-epoch-end", "--seed", "1") == ["--save-on-epoch-end", "--seed", "1"]
    assert replaced("search", "--json", "1") == ["--json", "1"]  # 1 is the query
    assert replaced("search", "--json=1", "--", "--json=0") == ["--json", "--", "--json=0"]

"""Command lines generated from a configuration class: names, types, switches and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from embedctl.commands.flags import with_options
from embedctl.config import Command, Section, Strings, option
from embedctl.errors import EXIT_INTERRUPTED, ConfigError, Stopped

INTERRUPTED = 10**6  # minutes for which the command raises KeyboardInterrupt


class Heat(Section):
    """A section of options."""

    oven_degrees: float = option(1.0, "Heat", "--heat", "-t", gt=0)
    """temperature"""
    mode: Literal["fan", "grill"] = option("fan", "Heat")
    """heat source"""


class Bake(Command):
    """The options of a command for this test."""

    main_options = ("mode", "files")

    heat: Heat = Heat()
    files: Strings = option((), "Data", metavar="FILE", positional=True)
    """recipes"""
    topping: Strings = option((), "Data")
    """toppings"""
    minutes: int | None = option(None, "Heat", ge=0)
    """duration"""
    dry_run: bool = option(False, "Run")
    """do not bake"""

    @property
    def interrupt_hint(self) -> str:
        return f"the {self.heat.mode} is still hot"


@pytest.fixture
def bake() -> Callable[..., Bake]:
    """Return a function that runs a command line and returns the configuration that the command received."""

    def run(*arguments: str) -> Bake:
        received: list[Bake] = []
        app = typer.Typer(context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})

        @with_options(Bake)
        def command(config: Bake) -> None:
            """Bake."""
            if config.minutes == INTERRUPTED:
                raise KeyboardInterrupt
            received.append(config)

        app.command()(command)
        outcome = CliRunner().invoke(app, list(arguments))
        if outcome.exception and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return received[0]

    return run


def test_without_options_all_values_are_defaults(bake):
    assert bake() == Bake()


def test_every_spelling_of_a_name(bake):
    for name in ("--oven-degrees", "--oven_degrees", "--heat", "-t"):
        assert bake(name, "180").heat.oven_degrees == 180.0


def test_lists_are_given_as_arguments_or_repeated_options(bake):
    config = bake("a.txt", "b.txt", "--topping", "nuts", "--topping", "jam, red")
    assert config.files == ("a.txt", "b.txt")
    assert config.topping == ("nuts", "jam, red")


def test_a_switch_of_the_yaml_file_is_turned_off_by_its_opposite(bake, tmp_path: Path):
    (tmp_path / "bake.yaml").write_text("dry_run: true\nheat: {mode: grill}\n", encoding="utf-8")
    file = str(tmp_path / "bake.yaml")
    assert bake("--dry-run").dry_run is True
    assert bake("--config", file).dry_run is True
    assert bake("--config", file, "--no-dry-run").dry_run is False
    assert bake("--config", file, "--no_dry_run").heat.mode == "grill"
    assert bake("--json", "-q").model_dump()["json_output"] is True


def test_zero_counts_as_a_value(bake):
    assert bake("--minutes", "0").minutes == 0


def test_all_invalid_values_are_reported(bake):
    with pytest.raises(ConfigError) as error:
        bake("--minutes", "soon", "--mode", "steam", "--heat", "-1")
    for name in ("--minutes", "--mode", "--oven-degrees"):
        assert f"{name}: " in error.value.message
    assert len(error.value.message.splitlines()) == 3


def test_ctrl_c_prints_the_hint_of_the_configuration(bake):
    with pytest.raises(Stopped, match="interrupted") as stopped:
        bake("--minutes", str(INTERRUPTED), "--mode", "grill")
    assert (stopped.value.exit_code, stopped.value.hint) == (EXIT_INTERRUPTED, "the grill is still hot")

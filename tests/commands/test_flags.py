"""Command lines generated from a configuration: names, kinds, switches, and values that reach it as typed."""

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

FOREVER = 10**6  # minutes, until Ctrl-C


class Heat(Section):
    """A section of options."""

    oven_degrees: float = option(1.0, "Heat", "how hot", "--heat", "-t", gt=0)
    mode: Literal["fan", "grill"] = option("fan", "Heat", "which way")


class Bake(Command):
    """An invented command."""

    heat: Heat = Heat()
    files: Strings = option((), "Data", "recipes", positional="FILE...")
    topping: Strings = option((), "Data", "more than one")
    minutes: int | None = option(None, "Heat", "how long", ge=0)
    dry_run: bool = option(False, "Run", "bake nothing")

    @property
    def after_interrupt(self) -> str:
        return f"the {self.heat.mode} is still hot"


@pytest.fixture
def bake() -> Callable[..., Bake]:
    """Runs a command line and gives the configuration that the recipe saw."""

    def run(*arguments: str) -> Bake:
        seen: list[Bake] = []
        app = typer.Typer(context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})

        @with_options(Bake)
        def command(config: Bake) -> None:
            """Bake."""
            if config.minutes == FOREVER:
                raise KeyboardInterrupt
            seen.append(config)

        app.command()(command)
        outcome = CliRunner().invoke(app, list(arguments))
        if outcome.exception and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return seen[0]

    return run


def test_nothing_typed_is_all_defaults(bake):
    assert bake() == Bake()


def test_every_spelling_of_a_name(bake):
    for name in ("--oven-degrees", "--oven_degrees", "--heat", "-t"):
        assert bake(name, "180").heat.oven_degrees == 180.0


def test_lists_and_positions(bake):
    config = bake("a.txt", "b.txt", "--topping", "nuts", "--topping", "jam, red")
    assert config.files == ("a.txt", "b.txt")
    assert config.topping == ("nuts", "jam, red")


def test_a_switch_and_its_opposite(bake, tmp_path: Path):
    (tmp_path / "bake.yaml").write_text("dry_run: true\nheat: {mode: grill}\n", encoding="utf-8")
    file = str(tmp_path / "bake.yaml")
    assert bake("--dry-run").dry_run is True
    assert bake("--config", file).dry_run is True
    assert bake("--config", file, "--no-dry-run").dry_run is False
    assert bake("--config", file, "--no_dry_run").heat.mode == "grill"
    assert bake("--json", "-q").model_dump()["json_output"] is True


def test_zero_is_a_value_not_an_absence(bake):
    assert bake("--minutes", "0").minutes == 0


def test_bad_values_arrive_together(bake):
    with pytest.raises(ConfigError) as wrong:
        bake("--minutes", "soon", "--mode", "steam", "--heat", "-1")
    for name in ("--minutes", "--mode", "--oven-degrees"):
        assert f"{name}: " in wrong.value.message
    assert len(wrong.value.message.splitlines()) == 3


def test_ctrl_c_says_what_is_left_to_do(bake):
    with pytest.raises(Stopped, match="interrupted") as stopped:
        bake("--minutes", str(FOREVER), "--mode", "grill")
    assert (stopped.value.exit_code, stopped.value.hint) == (EXIT_INTERRUPTED, "the grill is still hot")

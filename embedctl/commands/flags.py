"""Flags from configuration: gives a function of one config the command line of that config's fields.

Typer sees a generated signature, so a field's name, default and words stand in embedctl/config alone. Values arrive as
typed and go through pydantic together, so that every fault is listed at once.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from embedctl import console
from embedctl.config import Command, flag_of, leaves, load, shown_as
from embedctl.errors import Stopped

C = TypeVar("C", bound=Command)
NEGATED = "no__"
METAVARS = {int: "INT", float: "NUMBER", str: "TEXT"}


def with_options(config: type[C]) -> Callable[[Callable[[C], None]], Callable[..., None]]:
    """Decorate `recipe(config)` into a function with a Typer parameter for each option of `config`."""
    return partial(_command, config)


def _command(config: type[C], recipe: Callable[[C], None]) -> Callable[..., None]:
    """The function that Typer reads and calls: its parameters are the command line, its body runs the recipe."""

    def _run(**typed: Any) -> None:
        hint = ""
        try:
            resolved = _resolve(config, typed)
            hint = resolved.after_interrupt
            console.configure(quiet=resolved.quiet)
            recipe(resolved)
        except KeyboardInterrupt:  # Typer would end without a word
            raise Stopped("interrupted", hint) from None

    parameters = [parameter for path, field in leaves(config).items() for parameter in _parameters(path[-1], field)]
    file = typer.Option("--config", metavar="FILE", help="YAML of these options; flags win", rich_help_panel="Run")
    parameters.append(_parameter("config_file", str, file))
    _run.__name__, _run.__doc__ = recipe.__name__, recipe.__doc__
    _run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    _run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return _run


def _resolve(config: type[C], typed: dict[str, Any]) -> C:
    """The configuration of a command line as Typer hands it over: what was not typed is None or empty."""
    given = {name: value for name, value in typed.items() if value not in (None, [], ())}
    file = given.pop("config_file", None)
    negated = {name.removeprefix(NEGATED): False for name in given if name.startswith(NEGATED)}
    flags = {name: value for name, value in given.items() if not name.startswith(NEGATED)} | negated
    stored_file, implied = config.stored(flags)
    return load(config, file or stored_file, implied | flags)


def _parameter(name: str, kind: Any, shown: Any) -> inspect.Parameter:
    """A parameter of the type that Typer parses, None where it is not typed."""
    annotation = Annotated[kind | None, shown]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _parameters(name: str, field: FieldInfo) -> list[inspect.Parameter]:
    """The flag of a field, and for a switch its hidden opposite, with which a flag can beat a file."""
    flag = shown_as(field)
    kind, metavar = _kind(field.annotation)
    if flag.positional:
        argument = typer.Argument(metavar=flag.positional, help=field.description, rich_help_panel=flag.panel)
        return [_parameter(name, kind, argument)]
    names = [*flag.names, flag_of(name)]
    if kind is bool and any(extra.startswith("--") for extra in flag.names):
        names.pop()  # --json alone, not --json-output too
    option = typer.Option(*names, help=_help(field), metavar=metavar, show_default=False, rich_help_panel=flag.panel)
    if kind is not bool:
        return [_parameter(name, kind, option)]
    opposite = typer.Option(f"--no-{flag_of(name).removeprefix('--')}", hidden=True)
    return [_parameter(name, kind, option), _parameter(NEGATED + name, kind, opposite)]


def _help(field: FieldInfo) -> str:
    """The field's words and its default, which Typer does not see."""
    words = field.description or ""
    if field.default is True:
        return f"{words} (default: on)"
    if field.default is None or field.default == () or isinstance(field.default, bool):
        return words
    return f"{words} (default: {field.default})"


def _kind(annotation: Any) -> tuple[Any, str | None]:
    """The type Typer parses (text, a list of texts or a switch) and what help shows in its place."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kind = next(kind for kind in typing.get_args(annotation) if kind is not type(None)) if is_union else annotation
    if kind is bool:
        return bool, ""
    if typing.get_origin(kind) is typing.Literal:
        return str, "|".join(typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return list[str], "TEXT"
    return str, METAVARS.get(kind, "TEXT")

"""Flags from configuration: gives a function of one config the command line of that config's fields.

Typer sees a generated signature, so a field's name, default and words stand in embedctl/config alone. Values arrive as
typed and go through pydantic together, so that every fault is listed at once.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from embedctl import console
from embedctl.config import Command, Flag, flag_of, leaves, load
from embedctl.errors import Stopped

C = TypeVar("C", bound=Command)
NEGATED = "no__"
METAVARS = {int: "INT", float: "NUMBER", str: "TEXT"}


def takes(config: type[C]) -> Callable[[Callable[[C], None]], Callable[..., None]]:
    """Decorate `recipe(config)` into a function with a Typer parameter for each option of `config`."""

    def decorate(recipe: Callable[[C], None]) -> Callable[..., None]:
        def run(config_file: str | None = None, **typed: Any) -> None:
            negated = {name.removeprefix(NEGATED): False for name in typed if name.startswith(NEGATED) and typed[name]}
            given = {
                name: value
                for name, value in typed.items()
                if value not in (None, [], ()) and not name.startswith(NEGATED)
            }
            flags = given | negated
            hint = ""
            try:
                stored_file, implied = config.stored(flags)
                resolved = load(config, config_file or stored_file, implied | flags)
                hint = resolved.after_interrupt
                console.configure(quiet=resolved.quiet)
                recipe(resolved)
            except KeyboardInterrupt:  # Typer would end without a word
                raise Stopped("interrupted", hint) from None

        parameters = [parameter for path, field in leaves(config).items() for parameter in _parameters(path[-1], field)]
        parameters.append(_config_file())
        signature = inspect.Signature(parameters)
        run.__name__, run.__doc__ = recipe.__name__, recipe.__doc__
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _config_file() -> inspect.Parameter:
    option = typer.Option("--config", metavar="FILE", help="YAML of these options; flags win", rich_help_panel="Run")
    return _keyword("config_file", Annotated[str | None, option])


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _parameters(name: str, field: FieldInfo) -> list[inspect.Parameter]:
    """The flag of a field, and for a switch its hidden opposite, with which a flag can beat a file."""
    flag = next(item for item in field.metadata if isinstance(item, Flag))
    kind, metavar = _kind(field.annotation)
    if flag.argument:
        return [
            _keyword(
                name,
                Annotated[
                    kind | None,
                    typer.Argument(metavar=flag.metavar, help=field.description, rich_help_panel=flag.panel),
                ],
            )
        ]
    own = [] if kind is bool and any(extra.startswith("--") for extra in flag.names) else [flag_of(name)]
    option = typer.Option(
        *flag.names, *own, help=_help(field), metavar=metavar, show_default=False, rich_help_panel=flag.panel
    )
    parameters = [_keyword(name, Annotated[kind | None, option])]
    if kind is bool:
        opposite = typer.Option(f"--no-{(own or [flag_of(name)])[0].removeprefix('--')}", hidden=True)
        parameters.append(_keyword(NEGATED + name, Annotated[bool | None, opposite]))
    return parameters


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
    options = [kind for kind in _alternatives(annotation) if kind is not type(None)]
    first = options[0]
    if first is bool:
        return bool, ""
    if typing.get_origin(first) is typing.Literal:
        return str, "|".join(typing.get_args(first))
    if typing.get_origin(first) is tuple:
        return list[str], "TEXT"
    return str, METAVARS.get(first, "TEXT")


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)
